package ledger

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A verifyInput is a segment to be verified: up to limit bytes of its lines.
type verifyInput struct {
	name  string
	zip   bool // of the files that a folder holds the .gz is read
	open  func() (f *os.File, zip bool, err error)
	limit int64 // of a plain segment; -1: all of it
	size  int64 // of the file, for the progress
}

// folderInput is a segment of which a folder holds a set of files.
func folderInput(dir, name string, set fileSet) verifyInput {
	zip := set.sealed && (set.manifest || !set.plain)
	in := verifyInput{name: name, zip: zip, limit: -1, open: func() (*os.File, bool, error) { return openSegment(dir, name, zip) }}
	path := filepath.Join(dir, name+suffixPlain)
	if zip {
		path = filepath.Join(dir, name+suffixSealed)
	}
	if info, err := os.Stat(path); err == nil { // else open tells
		in.size = info.Size()
	}
	return in
}

// openSegment opens a segment's file. A plain one may be sealed meanwhile.
func openSegment(dir, name string, zip bool) (*os.File, bool, error) {
	if !zip {
		f, err := openFile(filepath.Join(dir, name+suffixPlain))
		if !errors.Is(err, fs.ErrNotExist) {
			return f, false, err
		}
	}
	f, err := openFile(filepath.Join(dir, name+suffixSealed))
	return f, true, err
}

// addStrays adds what the folder has of segments that are not the ledger's, in
// the order of names. A file whose lines are being committed is no stray: its
// segment is projected already, and there when the view is not yet.
func (l *Ledger) addStrays(v *verification) error {
	sets, err := listSegments(l.dir)
	if err != nil {
		return err
	}
	for _, in := range v.inputs {
		delete(sets, in.name)
	}
	if len(sets) == 0 {
		return nil
	}
	l.mu.Lock()
	projected := l.proj.view().all()
	l.mu.Unlock()
	for _, s := range projected {
		delete(sets, s.name)
	}
	for name, set := range sets {
		v.inputs = append(v.inputs, folderInput(l.dir, name, set))
	}
	slices.SortFunc(v.inputs, func(a, b verifyInput) int { return cmp.Compare(a.name, b.name) })
	return nil
}

// A fileState tells whether a file is still the one that it was.
type fileState struct {
	size  int64
	mtime int64 // Unix nanoseconds
}

// folderState is what a store changes in its folder when it seals, begins or
// rewrites a segment, but not when it appends to one.
func folderState(dir string) (map[string]fileState, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	state := map[string]fileState{}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "events_") || strings.HasSuffix(e.Name(), suffixTemp) {
			continue
		}
		var s fileState
		if !strings.HasSuffix(e.Name(), suffixPlain) {
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return nil, err
			}
			s = fileState{info.Size(), info.ModTime().UnixNano()}
		}
		state[e.Name()] = s
	}
	return state, nil
}
