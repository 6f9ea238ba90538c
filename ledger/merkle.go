package ledger

import "golang.org/x/mod/sumdb/tlog"

// A merkle grows an RFC 6962 Merkle tree by its right edge: one hash for each
// complete subtree, the largest first.
type merkle struct {
	n     int64
	edge  []tlog.Hash
	sizes []int64
}

// add appends a leaf.
func (m *merkle) add(leaf []byte) {
	h, size := tlog.RecordHash(leaf), int64(1)
	for k := len(m.edge); k > 0 && m.sizes[k-1] == size; k = len(m.edge) {
		h, size = tlog.NodeHash(m.edge[k-1], h), size*2
		m.edge, m.sizes = m.edge[:k-1], m.sizes[:k-1]
	}
	m.edge, m.sizes = append(m.edge, h), append(m.sizes, size)
	m.n++
}

// root is the tree's hash; m must not be empty.
func (m *merkle) root() tlog.Hash {
	h := m.edge[len(m.edge)-1]
	for k := len(m.edge) - 2; k >= 0; k-- {
		h = tlog.NodeHash(m.edge[k], h)
	}
	return h
}
