package ledger

import "crypto/sha256"

// A merkle grows an RFC 6962 Merkle tree by its right edge: the hash of each
// complete subtree, by its height; n has their sizes as bits.
type merkle struct {
	n    uint64
	edge [64][sha256.Size]byte
}

// add appends leaves with these hashes, which it overwrites.
func (m *merkle) add(s *hasher, level [][sha256.Size]byte) {
	n := m.n
	m.n += uint64(len(level))
	for height := 0; len(level) > 0; height++ {
		from, to := 0, 0 // of level, in place
		if n>>height&1 == 1 {
			level[0] = s.node(&m.edge[height], &level[0])
			from, to = 1, 1
		}
		for ; from+4 <= len(level); from, to = from+4, to+2 {
			level[to], level[to+1] = s.nodes([4]*[sha256.Size]byte{&level[from], &level[from+1], &level[from+2], &level[from+3]})
		}
		if from+2 <= len(level) {
			level[to] = s.node(&level[from], &level[from+1])
			from, to = from+2, to+1
		}
		if from < len(level) {
			m.edge[height] = level[from]
		}
		level = level[:to]
	}
}

// root is the tree's hash; m must not be empty.
func (m *merkle) root(s *hasher) (h [sha256.Size]byte) {
	begun := false
	for height := range m.edge {
		switch {
		case m.n>>height&1 == 0:
		case begun:
			h = s.node(&m.edge[height], &h)
		default:
			h, begun = m.edge[height], true
		}
	}
	return h
}
