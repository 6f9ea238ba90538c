package ledger

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestACommitWakesWhoWaitsForIt(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir(), Config{})
	defer l.Close()
	got := make(chan error, 3)
	ctx, cancel := context.WithCancel(context.Background())
	for id := ID(1); id <= 3; id++ {
		go func() { got <- l.Wait(context.Background(), id) }()
	}
	go func() { got <- l.Wait(ctx, 1000) }()
	for waiting := 0; waiting < 4; {
		l.state.Lock()
		waiting = len(l.waits)
		l.state.Unlock()
	}
	project(t, l, login(1), login(2))
	for range 2 {
		if err := <-got; err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-got:
		t.Fatalf("somebody waited for less than he asked for: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	l.fail(errors.New("fsync failed"))
	if err := <-got; !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
}

// Who gives up is no longer waited for, whether his id comes some day or not.
func TestWaitsThatAreGivenUpDoNotStay(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for id := ID(1); id <= 100; id++ {
		if err := l.Wait(ctx, id); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	told := make(chan struct{})
	l.Tell(MaxID, told)
	done, err := l.Await(2)
	if err != nil {
		t.Fatal(err)
	}
	l.Leave(told)
	l.Leave(told) // again is nothing
	if n := l.Waiting(); n != 1 {
		t.Errorf("%d wait, want the one who did not leave", n)
	}
	project(t, l, login(1), login(2))
	<-done
	closeLedger(t, l)
	mustValid(t, dir, VerifyOptions{})
}

// TestGetServesWhatWasWritten compares what is served from memory with the file.
func TestGetServesWhatWasWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	fresh := 0
	for n := range 300 {
		f.logins(1 + n%3)
		if n%50 == 0 {
			f.seq += 2
		}
		for id := ID(f.seq); id > 0 && id+5 > ID(f.seq); id-- {
			if raw := f.l.view.Load().fresh(id); raw != nil {
				fresh++
				if got, err := f.l.Get(id); err != nil || string(got) != string(raw) || !strings.Contains(string(raw), `{"id":"`+id.String()) {
					t.Fatalf("event %s: %s, %v", id, got, err)
				}
			}
		}
	}
	if fresh < 600 {
		t.Errorf("only %d events came from memory", fresh)
	}
	lines := map[string]bool{}
	for id := ID(1); id <= ID(f.seq); id++ {
		if raw, err := f.l.Get(id); err == nil {
			lines[string(raw)+"\n"] = true
		}
	}
	closeLedger(t, f.l)
	for _, line := range allLines(t, dir) {
		if !lines[strings.TrimSuffix(line, "\n")+"\n"] {
			t.Fatalf("not served: %s", line)
		}
	}
	mustValid(t, dir, VerifyOptions{})
}

// TestACrowdIsGathered takes the shortest of several times: the machine may be busy.
func TestACrowdIsGathered(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir(), Config{})
	defer closeLedger(t, l)
	gather := func(size int, ago time.Duration) time.Duration {
		least := time.Hour
		for range 20 {
			began := time.Now()
			l.gather(crowd{size, began.Add(-ago)})
			least = min(least, time.Since(began))
		}
		return least
	}
	if d := gather(8, 0); d < apart {
		t.Errorf("nobody is back, and the commit came after %v", d)
	}
	if d := gather(8, 2*crowdStays); d >= apart/4 {
		t.Errorf("there is no crowd, and the commit came after %v", d)
	}
	for range 6 {
		if _, err := l.Await(1); err != nil {
			t.Fatal(err)
		}
	}
	if d := gather(8, 0); d >= apart/4 {
		t.Errorf("most of the crowd waits, and the commit came after %v", d)
	}
	project(t, l, login(1))
	if n := l.Waiting(); n != 0 {
		t.Errorf("%d wait after the commit", n)
	}
}
