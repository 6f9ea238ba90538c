package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// follower runs tail -f and gives its lines as they come.
func follower(t *testing.T, args ...string) (lines <-chan string, end func()) {
	t.Helper()
	cmd := command(t, append([]string{"tail", "-f"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := make(chan string, 1000)
	go func() {
		defer close(c)
		in := bufio.NewScanner(out)
		for in.Scan() {
			c <- in.Text()
		}
		io.Copy(io.Discard, out)
	}()
	return c, func() {
		cmd.Process.Signal(syscall.SIGINT)
		for range c {
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("tail -f ended by SIGINT: %v", err)
		}
	}
}

func receive(t *testing.T, lines <-chan string) string {
	t.Helper()
	select {
	case line, ok := <-lines:
		if !ok {
			t.Fatal("tail has ended")
		}
		return line
	case <-time.After(30 * time.Second):
		t.Fatal("nothing comes")
	}
	return ""
}

// TestTailGoesOnBehindTheLastEvent kills the store under a follower: no event is lost, none printed twice.
func TestTailGoesOnBehindTheLastEvent(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	send := func(from, to int) {
		var b strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintf(&b, "{\"category\":\"%s\",\"action\":\"a%d\",\"actor\":\"ada\"}\n", []string{"user", "ai"}[i%2], i)
		}
		must(t, b.String(), "append", "--ndjson", "--url", n.url())
	}
	send(0, 6)
	all, endAll := follower(t, "--url", n.url(), "-n", "2", "--output", "ndjson")
	user, endUser := follower(t, "--url", n.url(), "-n", "1", "--category", "user", "--json")
	want := func(lines <-chan string, actions ...int) {
		t.Helper()
		for _, i := range actions {
			var e storedEvent
			if line := receive(t, lines); json.Unmarshal([]byte(line), &e) != nil || e.Action != fmt.Sprint("a", i) {
				t.Fatalf("got %s, want a%d", line, i)
			}
		}
	}
	want(all, 4, 5)
	want(user, 4)
	send(6, 10)
	want(all, 6, 7, 8, 9)
	want(user, 6, 8)
	n.kill(t)
	n.start(t)
	send(10, 14)
	want(all, 10, 11, 12, 13)
	want(user, 10, 12)
	endAll()
	endUser()
}

func TestTailPrintsTheLastEvents(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	if out := must(t, "", "tail", "--url", n.url()); strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "ID ") {
		t.Errorf("an empty ledger: %q", out)
	}
	must(t, "{\"category\":\"user\",\"action\":\"one\",\"actor\":\"ada\"}\n{\"category\":\"ai\",\"action\":\"two\",\"actor\":\"bot\"}\n", "append", "--ndjson", "--url", n.url())
	rows := strings.Split(strings.TrimSpace(must(t, "", "tail", "--url", n.url())), "\n")
	if len(rows) != 3 || !strings.Contains(rows[1], "one") || !strings.Contains(rows[2], "two") {
		t.Errorf("not the last, oldest first: %q", rows)
	}
	if e := decode[[]storedEvent](t, must(t, "", "tail", "--url", n.url(), "-n", "1", "--json")); len(e) != 1 || e[0].Action != "two" {
		t.Errorf("%+v", e)
	}
	if out := must(t, "", "tail", "--url", n.url(), "-n", "0", "--output", "ndjson"); out != "" {
		t.Errorf("-n 0: %q", out)
	}
	for _, args := range [][]string{{"tail", "-f", "--output", "json"}, {"tail", "-n", "-1"}, {"tail", "--output", "xml"}} {
		if _, errs, code := eventstore(t, "", append(args, "--url", n.url())...); code != 2 {
			t.Errorf("%q: %d %s", args, code, errs)
		}
	}
	if _, errs, code := eventstore(t, "", "tail", "-f", "--url", n.url(), "--start-time", "x"); code != 1 || !strings.Contains(errs, "start_time") {
		t.Errorf("a refused filter: %d %s", code, errs)
	}
}
