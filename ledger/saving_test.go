package ledger

import (
	"context"
	"sync/atomic"
	"testing"
)

func TestPreviewIsWhatAPassGivesBack(t *testing.T) {
	f, dir := agedFeed(t)
	due := f.l.Due(epoch.Add(f.at))
	var told atomic.Int64
	preview, err := f.l.Preview(context.Background(), due, func(done, total int) {
		if told.Add(1); total != len(due) {
			t.Errorf("%d of %d", done, total)
		}
	})
	if err != nil || len(preview) != len(due) || int(told.Load()) != len(due) {
		t.Fatal(err, preview, told.Load())
	}
	before := f.l.Status().TotalSizeBytes
	id := ageNow(t, f)
	if err := f.l.Rewritten(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	freed := int64(0)
	for i, s := range f.l.Sizes(due) {
		if s.After != preview[i].After || preview[i].Before <= preview[i].After {
			t.Errorf("previewed %+v, got %+v", preview[i], s)
		}
		freed += preview[i].Before - preview[i].After
	}
	line, _ := f.l.Get(id)
	if got := before + int64(len(line)) + 1 - f.l.Status().TotalSizeBytes; got != freed {
		t.Errorf("%d bytes came back, previewed %d", got, freed)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.l.Preview(cancelled, due, func(int, int) {}); err == nil {
		t.Error("a preview goes on when nobody waits")
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}
