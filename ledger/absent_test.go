package ledger

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEventsOfALostFileAreDamaged, not unknown: the ledger has had them.
func TestEventsOfALostFileAreDamaged(t *testing.T) {
	t.Parallel()
	for how, lose := range map[string]func(path string) error{
		"emptied": func(path string) error { return os.Truncate(path, 0) },
		"removed": os.Remove,
		"with manifest": func(path string) error {
			return errors.Join(os.Remove(path), os.Remove(strings.TrimSuffix(path, suffixSealed)+suffixManifest))
		},
	} {
		for _, running := range []bool{true, false} {
			dir := t.TempDir()
			c := DefaultConfig()
			c.MaxFileSize = 64 << 10
			f := &feed{t: t, l: open(t, dir, c)}
			f.own()
			f.logins(600)
			f.settleSeals()
			s := f.l.view.Load().segs[1]
			if !running {
				closeLedger(t, f.l)
			}
			if err := lose(filepath.Join(dir, s.name+suffixSealed)); err != nil {
				t.Fatal(err)
			}
			if !running {
				f.l = open(t, dir, c)
			}
			for _, id := range []ID{s.first, s.first + 2, s.last} {
				if _, err := f.l.Get(id); !errors.Is(err, ErrDamaged) {
					t.Errorf("%s, running %v: event %s: %v", how, running, id, err)
				}
			}
			for _, id := range []ID{s.first - 1, s.last + 1} {
				if _, err := f.l.Get(id); err != nil {
					t.Errorf("%s, running %v: event %s: %v", how, running, id, err)
				}
			}
			closeLedger(t, f.l)
		}
	}
}

// TestALineThatIsGoneIsDamage, and an id of a hole is not, wherever it lies.
func TestALineThatIsGoneIsDamage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir, Config{})
	project(t, l, login(1), login(2), login(3), login(7), login(8))
	for seq := uint64(10); seq < 10+3*blockLines; seq++ {
		project(t, l, login(seq))
	}
	end := uint64(l.Head().ID)
	project(t, l, login(end+2*blockLines), login(end+2*blockLines+1))
	closeLedger(t, l)
	mustValid(t, dir, VerifyOptions{})
	paths, _ := filepath.Glob(filepath.Join(dir, "*"+suffixPlain))
	lines := strings.SplitAfter(string(allBytes(t, paths[0])), "\n")
	gone := []string{lines[1], lines[5]} // 2 and 8, which stands before a hole
	text := strings.NewReplacer(gone[0], "", gone[1], "").Replace(strings.Join(lines, ""))
	if err := os.WriteFile(paths[0], []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir, Config{})
	defer closeLedger(t, l)
	for id, want := range map[ID]error{1: nil, 2: ErrDamaged, 3: nil, 4: ErrNotFound, 5: ErrNotFound, 6: nil, 7: nil, 8: ErrDamaged, 9: nil, ID(end): nil,
		ID(end) + 1: ErrNotFound, ID(end) + blockLines: ErrNotFound, ID(end) + 2*blockLines - 1: nil, ID(end) + 2*blockLines + 2: ErrNotFound} {
		if _, err := l.Get(id); !errors.Is(err, want) {
			t.Errorf("event %s: %v, want %v", id, err, want)
		}
	}
}
