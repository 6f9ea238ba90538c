package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// allocated is how many bytes f allocates. Nothing else may run.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// withEndless puts so many zeros into a plain file before its nth line, as a line
// of their own.
func withEndless(t *testing.T, path string, n int, size int64) {
	t.Helper()
	whole := allBytes(t, path)
	at := 0
	for range n - 1 {
		at += bytes.IndexByte(whole[at:], '\n') + 1
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = f.WriteAt(append([]byte{'\n'}, whole[at:]...), int64(at)+size)
	if err == nil {
		_, err = f.WriteAt(make([]byte, min(size, int64(len(whole)-at))), int64(at))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// packAll puts a .gz of one member, as the store's but for its size, in the
// place of a plain file.
func packAll(t *testing.T, path string) {
	t.Helper()
	var w memberWriter
	packed, err := w.pack(allBytes(t, path))
	if err == nil {
		err = errors.Join(os.WriteFile(path+".gz", packed, 0o600), os.Remove(path))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestALineWithoutEndTakesNoMemory: what is longer than any line is named and
// not read into memory, and the lines around it are read.
func TestALineWithoutEndTakesNoMemory(t *testing.T) { // alone: it measures what is allocated
	const endless, line = 160 << 20, 11
	for _, state := range []string{"active", "ended", "packed again"} {
		dir, zips := sealedFolder(t)
		path, _ := filepath.Glob(filepath.Join(dir, "*"+suffixPlain))
		file := path[0]
		size := int64(endless)
		if state != "active" {
			unpack(t, zips[1])
			file = strings.TrimSuffix(zips[1], ".gz")
		}
		if state == "active" {
			f := &feed{t: t, l: open(t, dir, faultConfig())}
			f.seq = uint64(f.l.Head().ID)
			f.logins(20)
			closeLedger(t, f.l)
		}
		withEndless(t, file, line, size)
		if state == "packed again" {
			packAll(t, file)
			file += ".gz"
		}
		var r *Report
		runtime.GC()
		if n := allocated(func() {
			var err error
			if r, err = VerifyDir(context.Background(), dir, VerifyOptions{}); err != nil {
				t.Fatal(err)
			}
		}); n > moreAllocated*endless {
			t.Errorf("%s: verification allocates %d bytes", state, n)
		}
		if !slices.ContainsFunc(r.Findings, func(f Finding) bool {
			return f.File == filepath.Base(file) && f.Line == line && f.Kind == "damaged_line" && f.ID != ""
		}) {
			t.Errorf("%s: %+v", state, r.Findings)
		}
		if r.Events != int64(ofHead(t, r)) {
			t.Errorf("%s: %d events of %s", state, r.Events, r.Head.ID)
		}
		if n := allocated(func() {
			l := open(t, dir, faultConfig())
			defer closeLedger(t, l)
			head := l.Head().ID
			if head != ofHead(t, r) {
				t.Errorf("%s: head %s, want %s", state, head, r.Head.ID)
			}
			cut := 0 // what inflates to more than its segment holds is read up to there
			for id := ID(1); id <= head; id++ {
				if _, err := l.Get(id); errors.Is(err, ErrDamaged) && state == "packed again" {
					cut++
				} else if err != nil {
					t.Fatalf("%s: %s: %v", state, id, err)
				}
			}
			for _, filter := range []Filter{{}, {Actors: []string{"u1"}}, {Text: "login"}} {
				got := ID(0)
				if err := l.Query(context.Background(), filter, func([]byte) error { got++; return nil }); err != nil || got == 0 || filter.Actors == nil && filter.Text == "" && int(got) != int(head)-cut {
					t.Errorf("%s: %+v: %d events of %d: %v", state, filter, got, head, err)
				}
			}
			compare := l.Compare()
			if _, err := compare.Matches(login(uint64(head))); err != nil {
				t.Errorf("%s: %v", state, err)
			}
		}); n > moreAllocated*endless {
			t.Errorf("%s: the ledger allocates %d bytes", state, n)
		}
		if info, err := os.Stat(file); err != nil || info.Size() < endless && state != "packed again" {
			t.Errorf("%s: the file did not stay as it was: %v", state, err)
		}
	}
}

func ofHead(t *testing.T, r *Report) ID {
	id, err := ParseID(r.Head.ID)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestNoLineIsLongerThanLinesAre projects the largest of each kind of message,
// and larger ones than the stream should take.
func TestNoLineIsLongerThanLinesAre(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir, Config{})
	subject := "events.security." + strings.Repeat("\x01", 4000)
	event := func(text string, size int) string {
		const around = `{"action":"a","actor":"b","data":{"x":""}}`
		return strings.Replace(around, `""`, `"`+strings.Repeat(text, (size-len(around))/len(text))+`"`, 1)
	}
	bodies := []string{
		event("x", maxCanonical-len(`"category":"security","error":null,"result":"success","target":null,`)), event(`\u0001`, maxCanonical-200), event(`"`, maxCanonical), event(`\"`, maxCanonical-200), event("é", maxCanonical-200),
		strings.Repeat("x", maxPayload), strings.Repeat("\xff", maxPayload), strings.Repeat("\x01", maxPayload), strings.Repeat(`"`, maxPayload), strings.Repeat("\n", 8<<20), strings.Repeat("\xff", 8<<20), strings.Repeat("é", 4<<20),
		`{"error":"` + strings.Repeat("\x7f", maxErrorText) + `"}`, "{" + strings.Repeat(`"\u0001`+strings.Repeat(`\u0001`, 60)+`":1,`, 1000) + `"a":1}`,
	}
	events := 0
	for i, body := range bodies {
		id := ID(i + 1)
		project(t, l, Message{Seq: uint64(id), Time: epoch, Subject: subject, Data: []byte(body)})
		raw, err := l.Get(id)
		if err != nil || len(raw)+1 > 3<<19 {
			t.Errorf("%.20q: a line of %d bytes: %v", body, len(raw)+1, err)
		}
		if bytes.Contains(raw, []byte(`"action":"event_rejected"`)) {
			if !bytes.Contains(raw, fmt.Appendf(nil, `"payload_bytes":%d`, len(body))) {
				t.Errorf("%.20q: its size is not told", body)
			}
		} else if events++; len(raw) < maxCanonical-200 {
			t.Errorf("%.20q: only %d bytes", body, len(raw))
		}
	}
	if events != 4 {
		t.Errorf("%d events", events)
	}
	closeLedger(t, l)
	mustValid(t, dir, VerifyOptions{})
}
