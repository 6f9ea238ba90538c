//go:build linux

package faultfs

import (
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"
)

// An inode is a file or a folder with its two images.
type inode struct {
	id      uint64
	mode    uint32
	mtime   time.Time
	vol     []byte
	dur     []byte
	pending []change // of vol since the last fsync
	kids    map[string]*inode
	durKids map[string]*inode
}

// A change is a write, or a truncation to off.
type change struct {
	off   int64
	data  []byte
	trunc bool
}

func newInode(id uint64, mode uint32) *inode {
	i := &inode{id: id, mode: mode, mtime: time.Now()}
	if i.dir() {
		i.kids, i.durKids = map[string]*inode{}, map[string]*inode{}
	}
	return i
}

func (i *inode) dir() bool { return i.mode&syscall.S_IFMT == syscall.S_IFDIR }

// change changes the volatile image.
func (i *inode) change(c change) {
	i.vol, i.mtime = c.apply(i.vol), time.Now()
	i.pending = append(i.pending, c)
}

// sync makes a file's bytes, or a folder's names, durable.
func (i *inode) sync() {
	if i.dir() {
		i.durKids = maps.Clone(i.kids)
		return
	}
	for _, c := range i.pending {
		i.dur = c.apply(i.dur)
	}
	i.pending = nil
}

// syncNames makes all names below a folder durable.
func (i *inode) syncNames() {
	i.sync()
	for _, k := range i.kids {
		if k.dir() {
			k.syncNames()
		}
	}
}

func (c change) apply(b []byte) []byte {
	end := c.off + int64(len(c.data))
	if int64(len(b)) < end {
		b = append(b, make([]byte, end-int64(len(b)))...)
	}
	if c.trunc {
		return b[:c.off]
	}
	copy(b[c.off:], c.data)
	return b
}

// A crash forgets what is not durable.
type crash struct {
	loss          Loss
	rng           *rand.Rand
	seen          map[*inode]bool
	writes, names int
	bytes         int64
}

func (c *crash) forget(i *inode) {
	if c.seen[i] {
		return
	}
	c.seen[i] = true
	if i.dir() {
		c.forgetNames(i)
		return
	}
	c.writes += len(i.pending)
	for _, w := range i.pending {
		if kept, ok := c.survives(w); ok {
			i.dur = kept.apply(i.dur)
		}
	}
	i.pending = nil
	i.vol = slices.Clone(i.dur)
	c.bytes += int64(len(i.vol))
}

// sector is what a disk writes or does not write.
const sector = 512

// survives is what the disk has of a change that was not fsynced.
func (c *crash) survives(w change) (change, bool) {
	if c.loss != Torn {
		return w, c.loss == Kept
	}
	switch c.rng.IntN(4) {
	case 0:
		return w, false
	case 1: // cut short, at a sector
		if whole := (len(w.data) + int(w.off%sector)) / sector; !w.trunc && whole > 0 {
			w.data = w.data[:max(0, (1+c.rng.IntN(whole))*sector-int(w.off%sector))]
		}
	case 2: // the length, but not the bytes
		w.data = make([]byte, len(w.data))
	}
	return w, true
}

// forgetNames takes a folder back to its durable names, or to some of each.
func (c *crash) forgetNames(i *inode) {
	next := maps.Clone(i.durKids)
	all := maps.Clone(i.durKids)
	maps.Copy(all, i.kids)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		now, there := i.kids[name]
		if now == i.durKids[name] {
			continue
		}
		c.names++
		if c.loss == Lost || c.loss == Torn && c.rng.IntN(2) == 0 {
			continue
		}
		if delete(next, name); there {
			next[name] = now
		}
	}
	i.kids, i.durKids = next, maps.Clone(next)
	for _, name := range slices.Sorted(maps.Keys(next)) {
		c.forget(next[name])
	}
}
