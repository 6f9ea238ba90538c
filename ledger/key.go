package ledger

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const (
	keyFile    = "ledger.key"
	pubFile    = "ledger.pub"
	actionSeal = "segment_sealed"
	actionConf = "ledger_configured"

	maxKey = 4 << 10 // bytes of a key's file
)

// A keyring holds the ledger's Ed25519 key in the note format. A replica
// without the private key has no signer and only follows.
type keyring struct {
	public   string
	verifier note.Verifier
	signer   note.Signer // nil without ledger.key
	unkept   string      // the text of a private key that is not in the folder yet
}

// openKeys reads the key of a folder. For a folder without any it makes one,
// which is written by keep: a folder that turns out to follow another ledger's
// stream gets that ledger's ledger.pub, and no key of its own.
func openKeys(dir string) (keyring, error) {
	public, err := readFile(filepath.Join(dir, pubFile), maxKey)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKeys(dir)
	}
	if err != nil {
		return keyring{}, err
	}
	k := keyring{public: strings.TrimSpace(string(public))}
	if k.verifier, err = note.NewVerifier(k.public); err != nil {
		return keyring{}, fmt.Errorf("reading %s: %w", pubFile, err)
	}
	private, err := readFile(filepath.Join(dir, keyFile), maxKey)
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

// makeKeys makes the public key from the private one where only ledger.pub is
// missing, and else both.
func makeKeys(dir string) (k keyring, err error) {
	private, err := readFile(filepath.Join(dir, keyFile), maxKey)
	if errors.Is(err, fs.ErrNotExist) {
		if err := keyless(dir); err != nil {
			return k, err
		}
		var random [6]byte
		rand.Read(random[:])
		k.unkept, k.public, err = note.GenerateKey(rand.Reader, "event-store-"+hex.EncodeToString(random[:]))
	} else if err == nil {
		k.unkept = strings.TrimSpace(string(private))
		k.public, err = publicKey(k.unkept)
	}
	if err != nil {
		return keyring{}, fmt.Errorf("making %s: %w", pubFile, err)
	}
	if k.signer, err = note.NewSigner(k.unkept); err == nil {
		k.verifier, err = note.NewVerifier(k.public)
	}
	return k, err
}

// keyless refuses a folder whose events are there and whose key is gone: a new
// one would make what the old one signed worth nothing.
func keyless(dir string) error {
	sets, err := listSegments(dir)
	if err != nil || len(sets) == 0 {
		return err
	}
	return fmt.Errorf("%s has events, but neither %s nor %s: put them back from a backup; with the second alone the store follows", dir, keyFile, pubFile)
}

// publicKey is the verifier key of a signer key
// (PRIVATE+KEY+<name>+<hash>+<base64 of the algorithm's byte and the seed>).
func publicKey(private string) (string, error) {
	parts := strings.SplitN(private, "+", 5)
	if len(parts) != 5 {
		return "", fmt.Errorf("reading %s: malformed key", keyFile)
	}
	seed, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return "", fmt.Errorf("reading %s: malformed key", keyFile)
	}
	return note.NewEd25519VerifierKey(parts[2], ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey))
}

// keep writes a key that was made at this start. The private key comes first:
// the public one can be made from it again.
func (k *keyring) keep(dir string) error {
	if k.unkept == "" {
		return nil
	}
	if err := writeFile(dir, keyFile, []byte(k.unkept+"\n")); err != nil {
		return fmt.Errorf("making %s: %w", keyFile, err)
	}
	if err := writeFile(dir, pubFile, []byte(k.public+"\n")); err != nil {
		return fmt.Errorf("making %s: %w", pubFile, err)
	}
	k.unkept = ""
	return nil
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
	statement, sig, ok := unsigned(data)
	msg := noteText(action, statement) + "\n" + sig + "\n"
	_, err := note.Open([]byte(msg), note.VerifierList(k.verifier))
	return statement, ok && err == nil
}

// unsigned parts the data of an own message into its statement and the signature.
func unsigned(data []byte) (statement []byte, sig string, ok bool) {
	statement = []byte{'{'}
	whole := eachMember(data, func(name, value []byte) {
		if string(name) == "signature" {
			sig, ok = text(value)
			return
		}
		if len(statement) > 1 {
			statement = append(statement, ',')
		}
		statement = append(append(append(append(statement, '"'), name...), `":`...), value...)
	})
	return append(statement, '}'), sig, whole && ok
}

// noteText is what is signed. The action stands in it, so that a statement
// cannot be used under another action.
func noteText(action string, statement []byte) string {
	return "event-store/" + action + "\n" + string(statement) + "\n"
}
