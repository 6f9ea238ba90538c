package ledger

import (
	"bytes"
	"crypto/sha256"
	"math/rand/v2"
	"testing"
)

// TestHasherIsSHA256 hashes texts of all lengths up to some blocks, by
// themselves and beside another.
func TestHasherIsSHA256(t *testing.T) {
	t.Parallel()
	s, text := newHasher(), bytes.Repeat([]byte("0123456789 abcdef"), 30)
	hashed := func(n int) ([]byte, [sha256.Size]byte) {
		return padded(bytes.Clone(text[:n])), sha256.Sum256(text[:n])
	}
	for n := range len(text) {
		a, want := hashed(n)
		if s.sum(a) != want {
			t.Fatalf("%d bytes", n)
		}
		for _, m := range []int{0, n / 3, n, min(n+70, len(text)), len(text)} {
			b, other := hashed(m)
			if x, y := s.sums(a, b); x != want || y != other {
				t.Fatalf("%d bytes beside %d", n, m)
			}
		}
	}
}

// TestMerkleIsRFC6962 grows trees by some leaves at a time, and compares their
// roots with the definition (RFC 6962, section 2.1).
func TestMerkleIsRFC6962(t *testing.T) {
	t.Parallel()
	var root func(leaves [][]byte) [sha256.Size]byte
	root = func(leaves [][]byte) [sha256.Size]byte {
		n := len(leaves)
		if n == 1 {
			return sha256.Sum256(append([]byte{0}, leaves[0]...))
		}
		k := 1
		for 2*k < n {
			k *= 2
		}
		left, right := root(leaves[:k]), root(leaves[k:])
		return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
	}
	s, r := newHasher(), rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var tree merkle
		var all [][]byte
		for len(all) < 200 {
			var level [][sha256.Size]byte
			for range r.IntN(1 + r.IntN(40)) {
				data := sha256.Sum256([]byte{byte(len(all)), byte(r.IntN(256))})
				all, level = append(all, data[:]), append(level, s.leaf(&data))
			}
			if tree.add(s, level); len(all) > 0 && tree.root(s) != root(all) {
				t.Fatalf("%d leaves, the last %d at once", len(all), len(level))
			}
		}
		a, b := sha256.Sum256(all[0]), sha256.Sum256(all[1])
		if x, y := s.leaves(&a, &b); x != s.leaf(&a) || y != s.leaf(&b) {
			t.Fatal("two leaves are not what each is")
		}
	}
}
