package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// agedNode is a store with two sealed segments of which a pass lets the service events go: 240 of 360.
func agedNode(t *testing.T, args ...string) *node {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "store.yaml")
	text := "storage: {max_file_size: 600KB}\nretention: {every: 24h}\ncategories:\n  service: {retention: 1s}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n := &node{dir: filepath.Join(dir, "data"), http: freeAddress(t), nats: freeAddress(t), log: filepath.Join(dir, "log"), args: append(args, "--config", config)}
	n.start(t)
	n.endWith(t)
	var b strings.Builder
	for i := range 360 {
		fmt.Fprintf(&b, `{"category":"%s","action":"a%d","actor":"u","data":{"x":"%s"}}`+"\n",
			[]string{"service", "service", "security"}[i%3], i, strings.Repeat(fmt.Sprint(i), 1200))
	}
	must(t, b.String(), "append", "--ndjson", "--url", n.url())
	n.until(t, "the service events of two segments are due", func() bool {
		r := n.pass(t, "?dry_run=true")
		return len(r.Segments) == 2 && r.AgedOut >= 200
	})
	return n
}

type passReport struct {
	Decisions []string
	AgedOut   int64 `json:"aged_out_events"`
	Freed     int64 `json:"bytes_freed"`
	Segments  []struct {
		Segment       string
		Before, After int64
	}
	Pending []struct{}
}

func (n *node) pass(t *testing.T, query string) (r passReport) {
	t.Helper()
	res, err := http.Post(n.url()+"/cleanup"+query, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 || json.Unmarshal(b, &r) != nil {
		t.Fatalf("%v %s %s", err, res.Status, b)
	}
	return r
}

func (n *node) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("time is up: %s", what)
		}
	}
}

type passStatus struct {
	Total     int64 `json:"total_events"`
	Aged      int64 `json:"aged_out_events"`
	Retention struct {
		Cells int `json:"pending_cells"`
	}
}

func (n *node) status(t *testing.T) passStatus {
	t.Helper()
	return decode[passStatus](t, must(t, "", "status", "--json", "--url", n.url()))
}

// survivors are the lines of a folder's published events but for those of category service.
func survivors(t *testing.T, dir string) (lines []string) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "events_*.jsonl*"))
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err == nil && strings.HasSuffix(name, ".gz") {
			var z *gzip.Reader
			if z, err = gzip.NewReader(bytes.NewReader(b)); err == nil {
				b, err = io.ReadAll(z)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if strings.Contains(line, `"category":"security"`) && strings.Contains(line, `"actor":"u"`) {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// TestKilledAtEveryStepOfARealPass kills the program at the system calls of a pass. Whatever was done by then: the folder
// is valid, the next start or pass finishes it, and nothing but the service events is gone.
func TestKilledAtEveryStepOfARealPass(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not there")
	}
	t.Parallel()
	n := agedNode(t)
	due := n.pass(t, "?dry_run=true")
	n.stop(t)
	want := survivors(t, n.dir)
	zip := due.Segments[0].Segment + ".jsonl.gz"
	active := activeSegment(t, n.dir)
	for _, step := range []struct {
		name, file, call string
		decided          bool // the decision is on disk for certain
	}{
		{"before the decision is written", active, "write", false},
		{"before the decision is synced", active, "fdatasync", false},
		{"before the new file", zip + ".tmp", "openat", true},
		{"before its first byte", zip + ".tmp", "write", true},
		{"mid-rewrite", zip + ".tmp", "", true},
		{"before its fsync", zip + ".tmp", "fsync", true},
		{"before the rename", zip + ".tmp", "renameat,renameat2,rename", true},
		{"after the rename", filepath.Join("index", due.Segments[0].Segment+".idx.tmp"), "openat", true},
		{"in the second segment", due.Segments[1].Segment + ".jsonl.gz.tmp", "fsync", true},
	} {
		t.Run(step.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(dir, os.DirFS(n.dir)); err != nil {
				t.Fatal(err)
			}
			k := &node{dir: dir, http: freeAddress(t), nats: freeAddress(t), log: filepath.Join(t.TempDir(), "log"), args: n.args}
			k.endWith(t)
			k.dieAt(t, strace, filepath.Join(dir, step.file), step.call)
			must(t, "", "verify", "--data", dir)
			k.start(t) // finishes it by itself
			if !step.decided {
				k.pass(t, "")
			}
			k.until(t, "the pass is finished", func() bool {
				s := k.status(t)
				return s.Aged == due.AgedOut && s.Retention.Cells == 0
			})
			k.stop(t)
			must(t, "", "verify", "--data", dir, "--require", "security=365d")
			if got := survivors(t, dir); !slices.Equal(got, want) {
				t.Errorf("%d survivors, want %d", len(got), len(want))
			}
			left, _ := filepath.Glob(filepath.Join(dir, "*.tmp"))
			if rest := grep(t, dir, `"category":"service"`, due.Segments[0].Segment); len(left) > 0 || rest > 0 {
				t.Errorf("left behind: %v, %d service events", left, rest)
			}
		})
	}
}

func activeSegment(t *testing.T, dir string) string {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "events_*.jsonl"))
	if len(files) != 1 {
		t.Fatalf("plain segments: %v", files)
	}
	return filepath.Base(files[0])
}

// grep counts the lines of a sealed segment that contain a text.
func grep(t *testing.T, dir, text, segment string) int {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, segment+".jsonl.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), text)
}

// dieAt starts the store, asks for a pass, and has it killed when it is about to make a call on a file; without a call,
// when the file holds something and is not finished.
func (n *node) dieAt(t *testing.T, strace, file, call string) {
	t.Helper()
	inject := "inject=" + call + ":signal=SIGKILL:when=1"
	if call == "" {
		inject = "inject=write:delay_exit=2s"
	}
	cmd := command(t, append([]string{"serve", "--listen", n.http, "--nats-listen", n.nats, "--data-dir", n.dir}, n.args...)...)
	cmd.Args = append([]string{strace, "-f", "-o", n.log + ".strace", "-P", file, "-e", inject, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = strace
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	n.until(t, "the store is up", func() bool {
		_, _, code := eventstore(t, "", "health", "--url", n.url())
		return code == 0
	})
	go http.Post(n.url()+"/cleanup", "", nil)
	if call == "" {
		n.until(t, "the file is half there", func() bool {
			info, err := os.Stat(file)
			return err == nil && info.Size() > 0
		})
		killChildren(t, cmd.Process.Pid)
	}
	select {
	case <-ended:
	case <-time.After(60 * time.Second):
		killChildren(t, cmd.Process.Pid)
		b, _ := os.ReadFile(n.log + ".strace")
		t.Fatalf("it was not killed: %s", b)
	}
}

// killChildren kills what strace runs.
func killChildren(t *testing.T, pid int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	for child := range strings.FieldsSeq(string(b)) {
		var id int
		fmt.Sscan(child, &id)
		if p, err := os.FindProcess(id); err == nil {
			p.Kill()
		}
	}
}
