package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be the program itself.
func TestMain(m *testing.M) {
	if os.Getenv("EVENTSTORE_TEST_MAIN") == "1" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), "EVENTSTORE_TEST_MAIN=1",
		"GORACE=atexit_sleep_ms=0") // a race-detecting program sleeps a second at its end otherwise
	return cmd
}

// eventstore runs one command line to its end.
func eventstore(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := command(t, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// must is eventstore for a command that must succeed.
func must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, errs, code := eventstore(t, stdin, args...)
	if code != 0 {
		t.Fatalf("%q ended with %d: %s%s", args, code, out, errs)
	}
	return out
}

// A node is a running store of its own folder and ports.
type node struct {
	dir, http, nats string
	cmd             *exec.Cmd
	log             string
	args            []string // more of serve
	program         string   // another build of the program; empty: this one
	env             []string // more of its environment
	publisher       string   // URL for publishers; empty: the embedded server's
	client          []string // TLS flags of the client commands
}

func newNode(t *testing.T) *node {
	dir := t.TempDir()
	n := &node{dir: filepath.Join(dir, "data"), http: freeAddress(t), nats: freeAddress(t), log: filepath.Join(dir, "log")}
	n.start(t)
	n.endWith(t)
	return n
}

// endWith ends the store with the test, and shows its log when the test failed.
func (n *node) endWith(t *testing.T) {
	t.Cleanup(func() {
		if n.cmd != nil {
			n.kill(t)
		}
		if t.Failed() {
			b, _ := os.ReadFile(n.log)
			t.Logf("log of the store:\n%s", b)
		}
	})
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (n *node) url() string {
	if n.client != nil {
		return "https://" + n.http
	}
	return "http://" + n.http
}

func (n *node) start(t *testing.T) {
	t.Helper()
	n.launch(t)
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, _, code := eventstore(t, "", append([]string{"health", "--url", n.url()}, n.client...)...); code == 0 {
			return
		}
	}
	n.kill(t)
	b, _ := os.ReadFile(n.log)
	t.Fatalf("not healthy after 30 s:\n%s", b)
}

// launch starts the process and waits for nothing.
func (n *node) launch(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	n.cmd = command(t, append([]string{"serve", "--listen", n.http, "--nats-listen", n.nats, "--data-dir", n.dir}, n.args...)...)
	n.cmd.Stderr = log
	n.cmd.Env = append(n.cmd.Env, n.env...)
	if n.program != "" {
		n.cmd.Path = n.program
	}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (n *node) kill(t *testing.T) {
	t.Helper()
	n.cmd.Process.Kill()
	n.cmd.Wait()
	n.cmd = nil
}

// stop ends the store as an operator does, and returns how long it took.
func (n *node) stop(t *testing.T) time.Duration {
	t.Helper()
	begin := time.Now()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Wait(); err != nil {
		t.Fatalf("SIGTERM: %v", err)
	}
	n.cmd = nil
	return time.Since(begin)
}

type storedEvent struct {
	ID, Hash, Action string
	PreviousHash     string `json:"previous_hash"`
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

// One store from its first event to a broken chain, as an operator sees it.
func TestStory(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	one := decode[storedEvent](t, must(t, "", "append", "--url", n.url(), "--category", "service", "--action", "one",
		"--actor", "docker", "--target", "ollama", "--data", `{"big":9007199254740993}`, "--key", "k"))
	if again := decode[storedEvent](t, must(t, "", "append", "--url", n.url(), "--category", "service", "--action", "one",
		"--actor", "docker", "--target", "ollama", "--data", `{"big":9007199254740993}`, "--key", "k")); again != one {
		t.Errorf("the same key gave %+v, then %+v", one, again)
	}
	must(t, `{"category":"user","action":"two","actor":"ada"}`, "append", "-", "--url", n.url())
	must(t, "{\"category\":\"user\",\"action\":\"three\",\"actor\":\"ada\"}\n{\"category\":\"ai\",\"action\":\"four\",\"actor\":\"bot\"}\n",
		"append", "--ndjson", "--url", n.url())
	if _, errs, code := eventstore(t, "", "append", "--url", n.url(), "--category", "nosuch", "--action", "a", "--actor", "b"); code != 1 || !strings.Contains(errs, "category") {
		t.Errorf("unknown category: %d %s", code, errs)
	}

	lines := strings.Split(strings.TrimSpace(must(t, "", "query", "--url", n.url(), "--order", "asc", "--output", "ndjson")), "\n")
	if len(lines) != 4 || !strings.Contains(lines[0], "9007199254740993") {
		t.Fatalf("query: %q", lines)
	}
	if ada := decode[[]storedEvent](t, must(t, "", "query", "--url", n.url(), "--actor", "ada", "--output", "json")); len(ada) != 2 || ada[0].Action != "three" {
		t.Errorf("ada's events: %+v", ada)
	}
	if table := must(t, "", "query", "--url", n.url(), "--category", "ai"); !strings.HasPrefix(table, "ID ") || !strings.Contains(table, "bot") {
		t.Errorf("table: %s", table)
	}
	if status := must(t, "", "status", "--url", n.url()); !strings.Contains(status, "head ") || !strings.Contains(status, "ai 1") {
		t.Errorf("status: %s", status)
	}
	head := decode[storedEvent](t, lines[3])

	n.kill(t)
	n.start(t)
	five := decode[storedEvent](t, must(t, "", "append", "--url", n.url(), "--category", "ai", "--action", "five", "--actor", "bot"))
	if five.PreviousHash != head.Hash {
		t.Errorf("after kill -9 the chain goes on from %s, want %s", five.PreviousHash, head.Hash)
	}
	if took := n.stop(t); took > 5*time.Second {
		t.Errorf("SIGTERM took %s", took)
	}
	if _, _, code := eventstore(t, "", append([]string{"health", "--url", n.url()}, n.client...)...); code != 1 {
		t.Errorf("health of a stopped store ended with %d", code)
	}

	if out := must(t, "", "verify", "--data", n.dir, "--head", head.ID+":"+head.Hash, "--require", "ai=1d"); !strings.HasPrefix(out, "valid") {
		t.Errorf("verify: %s", out)
	}
	report := decode[struct{ Status string }](t, must(t, "", "verify", "--data", n.dir, "--json"))
	if report.Status != "valid" {
		t.Errorf("verify --json: %+v", report)
	}
	if out, _, code := eventstore(t, "", "verify", "--data", n.dir, "--head", head.ID+":"+strings.Repeat("0", 64)); code != 1 {
		t.Errorf("a foreign head: %d %s", code, out)
	}
	editByte(t, n.dir, `"four"`, `"fOur"`)
	out, _, code := eventstore(t, "", "verify", "--data", n.dir)
	if code != 1 || !strings.Contains(out, "invalid") || !strings.Contains(out, "000000000004") {
		t.Errorf("an edited byte: %d %s", code, out)
	}
}

// editByte changes the ledger's only segment.
func editByte(t *testing.T, dir, from, to string) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "events_*.jsonl"))
	if len(files) != 1 {
		t.Fatalf("segments: %v", files)
	}
	b, err := os.ReadFile(files[0])
	if err != nil || bytes.Count(b, []byte(from)) != 1 {
		t.Fatalf("%v: %s", err, b)
	}
	if err := os.WriteFile(files[0], bytes.Replace(b, []byte(from), []byte(to), 1), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "none")
	unused := "http://" + freeAddress(t)
	for _, test := range []struct {
		args []string
		code int
		want string // on standard error
	}{
		{[]string{"verify", "--data", none}, 2, "no such file"},
		{[]string{"verify", "--head", "1"}, 2, "--head"},
		{[]string{"verify", "--require", "security"}, 2, "--require"},
		{[]string{"verify", "--nosuch"}, 2, "nosuch"},
		{[]string{"verify", "extra"}, 2, "extra"},
		{[]string{"nosuch"}, 2, "nosuch"},
		{[]string{"health", "--url", unused}, 1, "refused"},
		{[]string{"health", "--url", "localhost"}, 2, "--url"},
		{[]string{"append", "--url", unused}, 2, "nothing to append"},
		{[]string{"append", "--url", unused, "--data", "{"}, 2, "--data"},
		{[]string{"append", "--url", unused, "--category", "user", "--action", "a", "--actor", "M\xfcller"}, 2, "--actor"},
		{[]string{"append", "--url", unused, "--category", "user", "--action", "a", "--actor", "b", "--data", "{\"x\":\"\xfc\"}"}, 2, "--data"},
		{[]string{"query", "--url", unused, "--output", "xml"}, 2, "--output"},
		{[]string{"query", "--url", unused, "--output", "ndjson", "--json"}, 2, "--output"},
		{[]string{"tail", "--url", unused, "--output", "table", "--json"}, 2, "--output"},
		{[]string{"serve", "--listen", "5101"}, 2, "server.listen"},
		{[]string{"serve", "--config", none}, 2, "--config"},
		{[]string{"version"}, 0, ""},
		{[]string{"completion", "bash"}, 0, ""},
	} {
		_, errs, code := eventstore(t, "", test.args...)
		if code != test.code || !strings.Contains(errs, test.want) {
			t.Errorf("%q: %d %q, want %d and %q", test.args, code, errs, test.code, test.want)
		}
	}
}

// A second store must not write to the same folder.
func TestSecondServerRefused(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	_, errs, code := eventstore(t, "", "serve", "--listen", freeAddress(t), "--nats-listen", freeAddress(t), "--data-dir", n.dir)
	if code != 1 || !strings.Contains(errs, "opening the ledger") {
		t.Errorf("%d %s", code, errs)
	}
}
