package httpapi

import (
	"log/slog"
	"testing"
	"time"

	"home.lab/event-store/ledger"
	"home.lab/event-store/ledger/faultfs"
)

// A disk that does not answer gives no error: commits only take for ever.
func TestHealthOfADiskThatDoesNotAnswer(t *testing.T) {
	if why := faultfs.Unavailable(); why != "" {
		t.Skip(why)
	}
	disk, dir := faultfs.New(1), t.TempDir()
	if err := disk.Mount(dir); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { disk.Unmount() })
	quiet, answers := slog.New(slog.DiscardHandler), make(chan struct{})
	f := startWith(t, ledger.Options{Dir: dir, Logger: quiet}, Options{Logger: quiet, CommitTimeout: 200 * time.Millisecond})
	f.do("POST", "/events", body).want(t, 201)
	disk.SetFault(func(c faultfs.Call) (o faultfs.Outcome) {
		if c.Op == "fsync" {
			<-answers
		}
		return o
	})
	f.do("POST", "/events", body).want(t, 202)
	f.do("POST", "/events", body).want(t, 202)
	f.do("GET", "/health", "").want(t, 503, `"status":"unhealthy"`, "the disk does not answer: a commit has been under way for")
	close(answers)
	for end := time.Now().Add(10 * time.Second); f.ledger.Head().ID < 3 && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	f.do("GET", "/health", "").want(t, 200, `"status":"healthy"`, `"event_count":3`)
}
