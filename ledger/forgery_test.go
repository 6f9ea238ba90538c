package ledger

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A forgery is a folder in which somebody who has its files and the key changed
// one thing and made all else fit: its hashes, and the names of its files.
type forgery struct {
	t      *testing.T
	dir    string
	keys   keyring
	lines  [][]byte // of the active segment
	active string   // its name
	zips   []string // paths of the sealed ones
	other  int      // the line that another chain begins with; -1: none
}

// event takes a line of the active segment apart, from the end where i is negative.
func (f *forgery) event(i int) line {
	f.t.Helper()
	if i < 0 {
		i += len(f.lines)
	}
	l, err := parseLine(bytes.Clone(f.lines[i][:len(f.lines[i])-1]))
	if err != nil {
		f.t.Fatal(err)
	}
	return l
}

// put puts an event in a line's place.
func (f *forgery) put(i int, l line) {
	if i < 0 {
		i += len(f.lines)
	}
	f.lines[i], _, _ = l.append(nil, nil)
}

// own puts an own event in the last line's place.
func (f *forgery) own(action string, data []byte) {
	l := f.event(-1)
	l.category, l.action, l.actor, l.target, l.data = []byte(CategoryLedger), []byte(`"`+action+`"`), []byte(`"`+ActorStore+`"`), jsonNull, data
	f.put(-1, l)
}

// signed is own with the key's signature under a statement.
func (f *forgery) signed(action, statement string) {
	f.t.Helper()
	data, err := f.keys.sign(action, canonicalize([]byte(statement)))
	if err != nil {
		f.t.Fatal(err)
	}
	f.own(action, data)
}

// later moves the times of the lines from i on.
func (f *forgery) later(i int, d time.Duration) {
	for ; i < len(f.lines); i++ {
		l := f.event(i)
		l.timeText = []byte((l.time + micros(d/time.Microsecond)).text())
		f.put(i, l)
	}
}

// swap exchanges what two events say, but not their ids and times.
func (f *forgery) swap(i, j int) {
	a, b := f.event(i), f.event(j)
	a.idText, b.idText, a.timeText, b.timeText = b.idText, a.idText, b.timeText, a.timeText
	f.put(i, b)
	f.put(j, a)
}

// shift adds to the ids of the lines from i on.
func (f *forgery) shift(i int, by int) {
	for ; i < len(f.lines); i++ {
		l := f.event(i)
		l.idText = []byte(ID(int(l.id) + by).String())
		f.put(i, l)
	}
}

// rename gives the active segment another name.
func (f *forgery) rename(name string) {
	os.Remove(filepath.Join(f.dir, f.active+suffixPlain))
	f.active = name
}

func (f *forgery) manifest(i int) Manifest {
	f.t.Helper()
	m, err := parseManifest(allBytes(f.t, strings.TrimSuffix(f.zips[i], suffixSealed)+suffixManifest))
	if err != nil {
		f.t.Fatal(err)
	}
	return m
}

// decide puts a decision about the first segment's logins in the last line's
// place, at a time when the policies let them go; edit changes it before it is signed.
func (f *forgery) decide(edit func(m *Manifest, category *string, count *int64)) {
	f.t.Helper()
	f.later(len(f.lines)-1, 400*day)
	m, category, count := f.manifest(0), "security", int64(0)
	for _, c := range m.Categories {
		if c.Category == category {
			count = c.Count
		}
	}
	edit(&m, &category, &count)
	f.signed(actionAged, fmt.Sprintf(`{"segments":[{"categories":[{"category":"%s","count":%d}],"first_id":"%s","manifest_sha256":"%s"}]}`,
		category, count, m.FirstID, m.digest()))
}

// configure puts a configuration in the last line's place; edit changes what is signed.
func (f *forgery) configure(replaces ID, old, with string) {
	f.t.Helper()
	c := faultConfig()
	c.Categories["security"] = Policy{Retention: time.Hour}
	statement := string(c.statement(replaces))
	if !strings.Contains(statement, old) {
		f.t.Fatalf("%s is not in %s", old, statement)
	}
	f.signed(actionConf, strings.Replace(statement, old, with, 1))
}

// write writes the active segment with all hashes made to fit.
func (f *forgery) write() {
	f.t.Helper()
	lines := forged(string(f.event(0).prev), f.lines)
	if f.other >= 0 {
		lines = slices.Concat(lines[:f.other], forged(strings.Repeat("ab", 32), lines[f.other:]))
	}
	if err := os.WriteFile(filepath.Join(f.dir, f.active+suffixPlain), bytes.Join(lines, nil), 0o600); err != nil {
		f.t.Fatal(err)
	}
}
