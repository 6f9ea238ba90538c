package ledger

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const (
	keyFile    = "ledger.key"
	pubFile    = "ledger.pub"
	actionSeal = "segment_sealed"
	actionConf = "ledger_configured"
)

// A keyring holds the ledger's Ed25519 key in the note format. A replica
// without the private key has no signer and only follows.
type keyring struct {
	public   string
	verifier note.Verifier
	signer   note.Signer // nil without ledger.key
}

// openKeys reads the key of a folder, and makes one in a folder without any.
func openKeys(dir string) (keyring, error) {
	public, err := os.ReadFile(filepath.Join(dir, pubFile))
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKeys(dir); err != nil {
			return keyring{}, fmt.Errorf("making %s: %w", keyFile, err)
		}
		public, err = os.ReadFile(filepath.Join(dir, pubFile))
	}
	if err != nil {
		return keyring{}, err
	}
	k := keyring{public: strings.TrimSpace(string(public))}
	if k.verifier, err = note.NewVerifier(k.public); err != nil {
		return keyring{}, fmt.Errorf("reading %s: %w", pubFile, err)
	}
	private, err := os.ReadFile(filepath.Join(dir, keyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return keyring{}, err
	}
	if k.signer, err = note.NewSigner(strings.TrimSpace(string(private))); err != nil {
		return keyring{}, fmt.Errorf("reading %s: malformed key", keyFile)
	}
	if k.signer.KeyHash() != k.verifier.KeyHash() || k.signer.Name() != k.verifier.Name() {
		return keyring{}, fmt.Errorf("%s and %s are not of one key", keyFile, pubFile)
	}
	return k, nil
}

// makeKeys writes the private key first: a crash in between leaves a key whose
// public half is made from it again by nobody, so both are made anew, and no
// ledger has used them.
func makeKeys(dir string) error {
	var random [6]byte
	rand.Read(random[:])
	private, public, err := note.GenerateKey(rand.Reader, "event-store-"+hex.EncodeToString(random[:]))
	if err != nil {
		return err
	}
	if err := writeFile(dir, keyFile, []byte(private+"\n")); err != nil {
		return err
	}
	return writeFile(dir, pubFile, []byte(public+"\n"))
}

// sign gives the data of an own message: the statement (a canonical JSON
// object without the member "signature") with its signature.
func (k keyring) sign(action string, statement []byte) ([]byte, error) {
	signed, err := note.Sign(&note.Note{Text: noteText(action, statement)}, k.signer)
	if err != nil {
		return nil, err
	}
	_, sig, _ := bytes.Cut(signed, []byte("\n\n"))
	b := append(bytes.Clone(statement[:len(statement)-1]), `,"signature":`...)
	return canonicalize(append(quote(b, strings.TrimSpace(string(sig))), 0x7d)), nil
}

// verify tells whether the data of an own message carries a signature of the
// ledger's key for this action, and gives the signed statement.
func (k keyring) verify(action string, data []byte) (statement []byte, ok bool) {
	statement, sig := []byte{'{'}, ""
	eachMember(data, func(name, value []byte) {
		if string(name) == "signature" {
			sig, _ = text(value)
			return
		}
		if len(statement) > 1 {
			statement = append(statement, ',')
		}
		statement = append(append(append(append(statement, '"'), name...), `":`...), value...)
	})
	statement = append(statement, '}')
	msg := noteText(action, statement) + "\n" + sig + "\n"
	_, err := note.Open([]byte(msg), note.VerifierList(k.verifier))
	return statement, err == nil
}

// noteText is what is signed. The action stands in it, so that a statement
// cannot be used under another action.
func noteText(action string, statement []byte) string {
	return "event-store/" + action + "\n" + string(statement) + "\n"
}
