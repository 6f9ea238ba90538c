package ledger

import "crypto/sha256"

// A merkle grows an RFC 6962 Merkle tree by its right edge: one hash for each
// complete subtree, the largest first; their sizes are the bits of n.
type merkle struct {
	n    uint64
	edge [][sha256.Size]byte
}

// add appends a leaf.
func (m *merkle) add(leaf *[sha256.Size]byte) {
	var record [1 + sha256.Size]byte // 0 and the leaf
	copy(record[1:], leaf[:])
	h := sha256.Sum256(record[:])
	for n := m.n; n&1 == 1; n >>= 1 {
		h = node(&m.edge[len(m.edge)-1], &h)
		m.edge = m.edge[:len(m.edge)-1]
	}
	m.edge = append(m.edge, h)
	m.n++
}

// node is the hash of an inner node.
func node(left, right *[sha256.Size]byte) [sha256.Size]byte {
	var b [1 + 2*sha256.Size]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

// root is the tree's hash; m must not be empty.
func (m *merkle) root() [sha256.Size]byte {
	h := m.edge[len(m.edge)-1]
	for k := len(m.edge) - 2; k >= 0; k-- {
		h = node(&m.edge[k], &h)
	}
	return h
}
