package ledger

import (
	"math/rand/v2"
	"testing"
)

// TestObjectsEndWhereTheirBracketsSay compares valueLen with a walk by single
// bytes, over objects of few letters: what matters and its neighbours.
func TestObjectsEndWhereTheirBracketsSay(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	letters := []string{`{}[]",:`, `{}ab"`, `{}[]|^_~"\`, "{}\"\xfb\xfd\x02\x00a", `a"`, `abcdefgh"{}`}
	b := make([]byte, 0, 80)
	ends := 0
	for i := range 2_000_000 {
		from := letters[i%len(letters)]
		b = append(b[:0], '{')
		for range r.IntN(60) {
			b = append(b, from[r.IntN(len(from))])
		}
		b = append(b, `}},"result":"success"`[r.IntN(3):]...)
		want := objectLen(b)
		if got := valueLen(b); got != want {
			t.Fatalf("%q: %d, want %d", b, got, want)
		}
		if want > 16 {
			ends++
		}
	}
	if ends < 100_000 {
		t.Errorf("only %d of some length", ends)
	}
}

// objectLen is valueLen for objects, without its shortcuts.
func objectLen(b []byte) int {
	text, depth := false, 0
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case text:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}
