package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"home.lab/event-store/ledger"
)

// A target is a process that is measured: a store, or one that does the same without a ledger.
type target struct {
	url   string
	token string
	web   *http.Client
	nats  string // URL; empty when it has none

	cmd *exec.Cmd
	out io.ReadCloser
}

// newTarget is a target that c reaches.
func newTarget(c *client) (*target, error) {
	token, err := c.token()
	if err != nil {
		return nil, err
	}
	transport, err := c.tls.transport()
	if err != nil {
		return nil, err
	}
	own := transport.(*http.Transport).Clone()
	own.MaxIdleConns, own.MaxIdleConnsPerHost = callers, callers
	return &target{url: strings.TrimSuffix(c.url, "/"), token: token, web: &http.Client{Transport: own, Timeout: 30 * time.Second}}, nil
}

// startTarget starts this program with args and waits until it listens.
func startTarget(ctx context.Context, args ...string) (*target, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	t, err := newTarget(&client{})
	if err != nil {
		return nil, err
	}
	t.cmd = exec.Command(exe, args...)
	for _, v := range os.Environ() { // the folder is throwaway: not this host's configuration
		if !strings.HasPrefix(v, "EVENT_STORE_") {
			t.cmd.Env = append(t.cmd.Env, v)
		}
	}
	t.cmd.Env = append(t.cmd.Env, "EVENT_STORE_LOGGING_FORMAT=json")
	if t.out, err = t.cmd.StderrPipe(); err != nil {
		return nil, err
	}
	if err := t.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", args[0], err)
	}
	if err := t.listening(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", args[0], err), t.stop())
	}
	return t, nil
}

// listening reads the process's log until it says where it listens.
func (t *target) listening(ctx context.Context) error {
	last := ""
	lines := bufio.NewScanner(t.out)
	for lines.Scan() && ctx.Err() == nil {
		var at struct{ Msg, HTTP, NATS string }
		last = lines.Text()
		if json.Unmarshal(lines.Bytes(), &at) == nil && at.Msg == "listening" {
			t.url, t.nats = "http://"+at.HTTP, "nats://"+at.NATS
			go io.Copy(io.Discard, t.out)
			return t.answers(ctx)
		}
	}
	return fmt.Errorf("it did not begin to listen: %s", last)
}

// answers waits for the first answer.
func (t *target) answers(ctx context.Context) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
		if _, err := t.lastID(ctx); err == nil {
			return nil
		}
	}
	return errors.New("it did not answer in time")
}

// stop ends the process; nothing else for a target that was not started here.
func (t *target) stop() error {
	if t == nil || t.cmd == nil {
		return nil
	}
	if err := t.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return t.cmd.Wait()
}

// proc reads a file of Linux's /proc/PID; "" where there is none.
func (t *target) proc(name string) string {
	if t == nil || t.cmd == nil {
		return ""
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(t.cmd.Process.Pid) + "/" + name)
	if err != nil {
		return ""
	}
	return string(text)
}

// memory reads a line of the process's status, in bytes; 0 where there is none.
func (t *target) memory(name string) int64 {
	for line := range strings.Lines(t.proc("status")) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}

// settle waits until the process has done what it left for later, sealing
// above all: else the other side pays for it. It gives up after a while.
func (t *target) settle() {
	for last, n := "", 0; n < 100; n++ {
		_, fields, _ := strings.Cut(t.proc("stat"), ") ")
		f := strings.Fields(fields)
		if len(f) < 13 || last == f[11]+" "+f[12] { // clock ticks in user and kernel mode
			return
		}
		last = f[11] + " " + f[12]
		time.Sleep(200 * time.Millisecond)
	}
}

// measureMemory shows the most that the store took.
func (b *bench) measureMemory(context.Context) error {
	if b.store == nil {
		return nil
	}
	if n := b.store.memory("VmHWM"); n > 0 {
		b.out.add(figure{Name: "peak memory", Value: float64(n) / 1e6, Unit: "MB"})
	}
	return nil
}

// call sends a request and reads its answer.
func (t *target) call(ctx context.Context, method, path, media string, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, t.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if media != "" {
		req.Header.Set("Content-Type", media)
	}
	if t.token != "" {
		req.Header.Set("Authorization", "Bearer "+t.token)
	}
	res, err := t.web.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = problem(res.Status, answer)
	}
	return res.StatusCode, answer, err
}

// lastID asks for the newest committed id.
func (t *target) lastID(ctx context.Context) (ledger.ID, error) {
	_, body, err := t.call(ctx, http.MethodGet, "/status", "", nil)
	if err != nil {
		return 0, err
	}
	var s struct {
		LastID string `json:"last_id"`
	}
	if err := json.Unmarshal(body, &s); err != nil || s.LastID == "" {
		return 0, err // an empty store has no last id
	}
	return ledger.ParseID(s.LastID)
}

// wait returns when an id is committed. It gives up after a minute without any commit.
func (t *target) wait(ctx context.Context, id ledger.ID) error {
	seen, looked := ledger.ID(0), time.Now()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		switch status, _, err := t.call(ctx, http.MethodGet, "/events/"+id.String(), "", nil); {
		case status == http.StatusOK:
			return nil
		case status != http.StatusNotFound:
			return err
		}
		if time.Since(looked) < time.Second {
			continue
		}
		looked = time.Now()
		if last, err := t.lastID(ctx); err == nil && last > seen {
			seen, end = last, time.Now().Add(time.Minute)
		}
	}
	return fmt.Errorf("event %s was not committed, and nothing else within a minute", id)
}
