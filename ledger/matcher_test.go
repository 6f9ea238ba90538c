package ledger

import (
	"bytes"
	"testing"
)

func TestLowerCaseIsThatOfTheStandardLibrary(t *testing.T) {
	for _, s := range []string{"", "a", "ABC xyz [\\]^_`{|} @ 09", "\u00c9t\u00c9", "x\u0130I\u1e9e", "a\xffB"} {
		if got := appendLower([]byte("K"), []byte(s)); !bytes.Equal(got, append([]byte("K"), bytes.ToLower([]byte(s))...)) {
			t.Errorf("%q: %q", s, got)
		}
	}
}

// BenchmarkLower is what looking for a text costs per block, beside inflating it.
func BenchmarkLower(b *testing.B) {
	block := bytes.Repeat(realistic(1).Data, memberSize/len(realistic(1).Data))
	var scratch []byte
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		scratch = appendLower(scratch[:0], block)
	}
}
