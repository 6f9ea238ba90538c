//go:build linux

package ledger

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A child is this test binary as a process that plays a tape on a folder. It
// says on its output what is in the stream and what was acknowledged.
type child struct {
	cmd   *exec.Cmd
	start time.Time // of its tape
	out   bytes.Buffer
	begin *os.File // closed to let it begin
}

// said is one line of a child's output.
type said struct {
	Message *Message
	Head    *Head
	Done    bool
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	c := &child{start: today(), cmd: exec.Command(os.Args[0], "-test.run", "^TestKilledAtTheNthCall$")}
	c.cmd.Env = append(os.Environ(), "FAULT_CHILD="+dir, "FAULT_START="+c.start.Format(time.RFC3339))
	c.cmd.Stdout = &c.out
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.Stdin, c.begin = in, out
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	return c
}

func (c *child) kill() { c.cmd.Process.Kill() }

// wait lets the child run to its end and gives what it left: the stream and
// what was acknowledged.
func (c *child) wait(t *testing.T, whole bool) (*tape, *acked) {
	t.Helper()
	c.begin.Close()
	err := c.cmd.Wait()
	tp, a, done := newTape(1, childTape, c.start), &acked{}, false
	begun := false
	for line := range strings.SplitSeq(c.out.String(), "\n") {
		var s said
		if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &s) != nil {
			continue // a line cut by the kill was not said
		}
		if s.Message != nil {
			tp.msgs = append(tp.msgs, *s.Message)
			begun = begun || len(tp.msgs) > childTape
		}
		if s.Head != nil {
			a.tell(*s.Head)
		}
		done = done || s.Done
	}
	if !begun { // killed while it filled the tape: nothing was projected
		tp.msgs = nil
	}
	if whole && (err != nil || !done) {
		t.Fatalf("the child failed by itself: %v\n%s", err, c.out.String())
	}
	return tp, a
}

const childTape = 300

// playAsChild is the child's side.
func playAsChild(t *testing.T, dir string) {
	bufio.NewReader(os.Stdin).ReadByte() // until the parent is ready to kill
	say := func(s said) {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		os.Stdout.Write(append(b, '\n'))
	}
	start, err := time.Parse(time.RFC3339, os.Getenv("FAULT_START"))
	if err != nil {
		t.Fatal(err)
	}
	tp := newTape(1, childTape, start)
	tp.keep = func(m Message) { say(said{Message: &m}) }
	l, err := tryOpen(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := tp.play(l, func(h Head) { say(said{Head: &h}) }); err != nil {
		t.Fatal(err)
	}
	closeLedger(t, l)
	say(said{Done: true})
}
