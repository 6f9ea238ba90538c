package ledger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// settleFiles brings a segment's files into one of the states that sealing has
// (see seal), and opens a sealed one with its index.
func (l *Ledger) settleFiles(name string, set fileSet) (*segment, fileSet, error) {
	path := filepath.Join(l.dir, name)
	var manifest *Manifest
	if set.manifest {
		b, err := readFile(path+suffixManifest, maxManifest)
		if err != nil && !errors.Is(err, errNoFile) {
			return nil, set, err
		}
		var m Manifest
		if err == nil {
			m, err = parseManifest(b)
		}
		if err == nil {
			manifest = &m
		} else {
			l.log.Error("damaged manifest", "segment", name, "err", err)
		}
	}
	if set.sealed && set.plain {
		if err := l.settleTwo(name, &set, manifest); err != nil {
			return nil, set, err
		}
	}
	if !set.sealed || manifest == nil {
		return nil, set, nil
	}
	s, err := sealedSegment(name, *manifest)
	if err == nil {
		s.measure(l.dir)
		l.openIndex(s)
	}
	return s, set, err
}

// settleTwo decides between a .jsonl and a .jsonl.gz of one segment. One that
// is what the manifest says, also after ageing out, wins and the other goes: so
// it is after a crash, and where a copy has an older file too. Of two that are
// both something else none goes, and the .gz is read, or the .jsonl where there
// is no manifest: the store makes no .gz without one.
func (l *Ledger) settleTwo(name string, set *fileSet, m *Manifest) error {
	path := filepath.Join(l.dir, name)
	remove := ""
	switch {
	case m != nil && (holds(path+suffixSealed, true, *m) || isRewriting(path+suffixSealed, *m)):
		remove, set.plain = path+suffixPlain, false
	case m != nil && holds(path+suffixPlain, false, *m):
		remove, set.sealed = path+suffixSealed, false
	default:
		read := name + suffixSealed
		if set.plain, set.sealed = !set.manifest, set.manifest; set.plain {
			read = name + suffixPlain
		}
		l.log.Error("two files of one segment, and none is what was sealed", "segment", name, "read", read)
		return nil
	}
	return errors.Join(os.Remove(remove), syncDir(l.dir))
}

// sealedSegment is a segment on its manifest's word, until vouch. Verification
// checks it.
func sealedSegment(name string, m Manifest) (*segment, error) {
	first, err := ParseID(m.FirstID)
	if err != nil {
		return nil, fmt.Errorf("manifest first_id: %w", err)
	}
	last, err := ParseID(m.LastID)
	if err != nil {
		return nil, fmt.Errorf("manifest last_id: %w", err)
	}
	from, to := m.times()
	s := &segment{name: name, first: first, last: last, firstTime: microsOf(from), lastTime: microsOf(to),
		size: m.Bytes, manifest: &m, digest: m.digest()}
	m.Map = "" // large, and on disk
	s.sealed.Store(true)
	return s, nil
}

// settle makes a plain segment and its name durable and cuts a torn tail,
// so that what is counted is committed.
func (l *Ledger) settle(path string) error {
	if err := regular(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	end, size, err := soundEnd(f)
	if err != nil {
		return err
	}
	if end != size {
		l.log.Warn("torn tail cut", "file", filepath.Base(path), "bytes", size-end)
		if err := f.Truncate(end); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return syncDir(l.dir)
}

func (l *Ledger) reopen(path, name string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.synced = synced{name: name, size: info.Size(), file: f} // not what could be read of it: a recovery cuts what is behind
	return nil
}
