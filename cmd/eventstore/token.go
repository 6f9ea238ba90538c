package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// tokenPrefix lets secret scanners and readers recognise a token.
const tokenPrefix = "est_"

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make tokens", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(newTokenCommand())
	return cmd
}

func newTokenCommand() *cobra.Command {
	var t token
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Make a token and print it once, with what store.yaml needs",
		Long: `Make a token. The first line is the token, which is kept nowhere; then comes its entry for store.yaml, which has its
SHA-256. A file with all of that is a token file.`,
		Example: `  eventstore token new --name ci --scope append --category service
  eventstore token new --name auditor --scope read > auditor.token
  eventstore token new --name auditor --scope read --json | jq -r .token`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := t.checkFlags(); err != nil {
				return usage(err)
			}
			secret := newSecret()
			t.sha256 = fmt.Sprintf("%x", sha256.Sum256([]byte(secret)))
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{
					"token": secret, "name": t.name, "sha256": t.sha256, "scopes": t.scopes, "categories": t.categories})
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n\n%s", secret, t.stanza())
			return err
		},
	}
	cmd.Flags().StringVar(&t.name, "name", "", "who uses it")
	cmd.Flags().StringSliceVar(&t.scopes, "scope", nil, "append, read or admin; repeatable")
	cmd.Flags().StringSliceVar(&t.categories, "category", []string{}, "the only category it is good for; repeatable")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newSecret() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails (crypto/rand)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// checkFlags holds the token that flags describe to the rules of the file.
func (t *token) checkFlags() error {
	if err := setEntryName(&t.name, []string{t.name}); err != nil {
		return fmt.Errorf("--name: %w", err)
	}
	if err := setScopes(&t.scopes, t.scopes); err != nil {
		return fmt.Errorf("--scope: %w", err)
	}
	return t.check()
}

// stanza is the token's entry in store.yaml.
func (t *token) stanza() string {
	s := fmt.Sprintf("# The token above is shown this once. In store.yaml:\nauth:\n  tokens:\n"+
		"    - name: %s\n      sha256: %s\n      scopes: [%s]\n", t.name, t.sha256, strings.Join(t.scopes, ", "))
	if len(t.categories) > 0 {
		s += fmt.Sprintf("      categories: [%s]\n", strings.Join(t.categories, ", "))
	}
	return s
}

// readToken reads the first line of a token file; "-" is standard input.
func readToken(path string, stdin io.Reader) (string, error) {
	b, err := os.ReadFile(path)
	if path == "-" {
		b, err = io.ReadAll(io.LimitReader(stdin, 4096))
	}
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimSpace(line); line == "" || slices.ContainsFunc([]rune(line), func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", errors.New("--token-file: one token on the first line expected")
	}
	return line, nil
}
