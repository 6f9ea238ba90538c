//go:build linux

package faultfs

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// A node is an inode as FUSE asks for it.
type node struct {
	fs.Inode
	f *FS
	i *inode
}

// A handle is an open file: what O_SYNC needs to know.
type handle struct{ sync bool }

// begin asks for a call's outcome and, when it passes, takes the lock.
func (n *node) begin(op, name string, size int) (Outcome, syscall.Errno) {
	path := n.Path(nil)
	if name != "" {
		path += "/" + name
	}
	o := n.f.ask(op, path, size)
	if o.Err != 0 {
		return o, o.Err
	}
	n.f.mu.Lock()
	if n.f.off {
		n.f.mu.Unlock()
		return o, syscall.EIO
	}
	return o, 0
}

func (i *inode) attr(a *fuse.Attr) {
	a.Ino, a.Mode, a.Size, a.Nlink, a.Blksize = i.id, i.mode, uint64(len(i.vol)), 1, 4096
	a.Blocks = (a.Size + 511) / 512
	a.SetTimes(&i.mtime, &i.mtime, &i.mtime)
}

func (n *node) inode(ctx context.Context, i *inode, out *fuse.EntryOut) *fs.Inode {
	i.attr(&out.Attr)
	return n.NewInode(ctx, &node{f: n.f, i: i}, fs.StableAttr{Mode: i.mode & syscall.S_IFMT, Ino: i.id})
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	n.i.attr(&out.Attr)
	return 0
}

func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	size, truncate := in.GetSize()
	if truncate {
		if _, err := n.begin("truncate", "", int(size)); err != 0 {
			return err
		}
	} else {
		n.f.mu.Lock()
	}
	defer n.f.mu.Unlock()
	if truncate {
		if err := n.f.grow(int64(size) - int64(len(n.i.vol))); err != 0 {
			return err
		}
		n.i.change(change{off: int64(size), trunc: true})
	}
	if mode, ok := in.GetMode(); ok {
		n.i.mode = n.i.mode&syscall.S_IFMT | mode&0o7777
	}
	n.i.attr(&out.Attr)
	return 0
}

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	kid := n.i.kids[name]
	if kid == nil {
		return nil, syscall.ENOENT
	}
	return n.inode(ctx, kid, out), 0
}

func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	var list []fuse.DirEntry
	for name, kid := range n.i.kids {
		list = append(list, fuse.DirEntry{Name: name, Mode: kid.mode, Ino: kid.id})
	}
	return fs.NewListDirStream(list), 0
}

func (n *node) add(name string, mode uint32) *inode {
	n.f.lastID++
	kid := newInode(n.f.lastID, mode)
	n.i.kids[name] = kid
	return kid
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if _, err := n.begin("create", name, 0); err != 0 {
		return nil, nil, 0, err
	}
	defer n.f.mu.Unlock()
	return n.inode(ctx, n.add(name, syscall.S_IFREG|mode), out), opened(flags), 0, 0
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if _, err := n.begin("mkdir", name, 0); err != 0 {
		return nil, err
	}
	defer n.f.mu.Unlock()
	return n.inode(ctx, n.add(name, syscall.S_IFDIR|mode), out), 0
}

func opened(flags uint32) *handle {
	return &handle{sync: flags&(syscall.O_SYNC|syscall.O_DSYNC) != 0}
}

func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if _, err := n.begin("open", "", 0); err != 0 {
		return nil, 0, err
	}
	defer n.f.mu.Unlock()
	return opened(flags), 0, 0
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if _, err := n.begin("read", "", len(dest)); err != 0 {
		return nil, err
	}
	defer n.f.mu.Unlock()
	if off >= int64(len(n.i.vol)) {
		return fuse.ReadResultData(nil), 0
	}
	return fuse.ReadResultData(dest[:copy(dest, n.i.vol[off:])]), 0
}

func (n *node) Write(_ context.Context, fh fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	o, err := n.begin("write", "", len(data))
	if err != 0 {
		return 0, err
	}
	defer n.f.mu.Unlock()
	if o.Short > 0 && o.Short < len(data) {
		data = data[:o.Short]
	}
	if more := off + int64(len(data)) - int64(len(n.i.vol)); more > 0 {
		if err := n.f.grow(more); err != 0 {
			return 0, err
		}
	}
	n.i.change(change{off: off, data: append([]byte(nil), data...)})
	if h, ok := fh.(*handle); ok && h.sync {
		n.persist()
	}
	return uint32(len(data)), 0
}

func (n *node) Allocate(_ context.Context, _ fs.FileHandle, off, size uint64, _ uint32) syscall.Errno {
	if _, err := n.begin("allocate", "", int(size)); err != 0 {
		return err
	}
	defer n.f.mu.Unlock()
	more := int64(off+size) - int64(len(n.i.vol))
	if more <= 0 {
		return 0
	}
	if err := n.f.grow(more); err != 0 {
		return err
	}
	n.i.change(change{off: int64(off + size), trunc: true})
	return 0
}

func (n *node) Flush(context.Context, fs.FileHandle) syscall.Errno { return 0 }

func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	op := "fsync"
	if n.i.dir() {
		op = "fsyncdir"
	}
	if _, err := n.begin(op, "", 0); err != 0 {
		n.f.mu.Lock()
		defer n.f.mu.Unlock()
		if !n.f.off {
			n.i.pending = nil // clean, although it is on no disk
		}
		return err
	}
	defer n.f.mu.Unlock()
	n.persist()
	return 0
}

// persist is an fsync: with a journal it commits all names made so far.
func (n *node) persist() {
	n.i.sync()
	if n.f.Journal {
		n.f.root.syncNames()
	}
}

func (n *node) Rename(_ context.Context, name string, to fs.InodeEmbedder, newName string, _ uint32) syscall.Errno {
	if _, err := n.begin("rename", name, 0); err != 0 {
		return err
	}
	defer n.f.mu.Unlock()
	kid := n.i.kids[name]
	if kid == nil {
		return syscall.ENOENT
	}
	dir := to.(*node).i
	if old := dir.kids[newName]; old != nil && old != kid {
		n.f.grow(-int64(len(old.vol)))
	}
	delete(n.i.kids, name)
	dir.kids[newName] = kid
	return 0
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	if _, err := n.begin("unlink", name, 0); err != 0 {
		return err
	}
	defer n.f.mu.Unlock()
	if kid := n.i.kids[name]; kid != nil {
		n.f.grow(-int64(len(kid.vol)))
	}
	delete(n.i.kids, name)
	return 0
}

func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	if _, err := n.begin("rmdir", name, 0); err != 0 {
		return err
	}
	defer n.f.mu.Unlock()
	kid := n.i.kids[name]
	if kid == nil {
		return syscall.ENOENT
	}
	if len(kid.kids) > 0 {
		return syscall.ENOTEMPTY
	}
	delete(n.i.kids, name)
	return 0
}

func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	n.f.mu.Lock()
	defer n.f.mu.Unlock()
	limit := n.f.Limit
	if limit == 0 {
		limit = 64 << 30
	}
	out.Bsize, out.Frsize, out.NameLen = 4096, 4096, 255
	out.Blocks = uint64(limit / 4096)
	out.Bfree = uint64(max(0, limit-n.f.used) / 4096)
	out.Bavail = out.Bfree
	return 0
}
