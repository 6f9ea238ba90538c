package ledger

import (
	"context"
	"runtime/metrics"
	"testing"
	"time"

	"home.lab/event-store/ledger/sample"
)

// BenchmarkPass is a retention pass over a million realistic events of 60 days
// in daily segments: after a month the events of service, ai and error go from
// the first 29 days.
func BenchmarkPass(b *testing.B) {
	const events, days = 1_000_000, 60
	for range b.N {
		b.StopTimer()
		f := &feed{t: b, l: open(b, b.TempDir(), Config{})}
		f.at = time.Since(epoch) - days*day - time.Minute
		g := sample.New(1)
		batch := make([]Message, 0, 1000)
		for range events {
			f.seq++
			f.at += days * day / events
			category, data := g.Next()
			if batch = append(batch, Message{Seq: f.seq, Time: epoch.Add(f.at), Subject: "events." + category, Data: data}); len(batch) == cap(batch) {
				project(b, f.l, batch...)
				batch = batch[:0]
			}
		}
		f.settleSeals()
		due := f.l.Due(epoch.Add(f.at))
		before := heapInUse()
		b.StartTimer()

		began := time.Now()
		preview, err := f.l.Preview(context.Background(), due, func(int, int) {})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "preview-s")
		began = time.Now()
		id := f.decide(due)
		if err := f.l.Rewritten(context.Background(), id); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "pass-s")
		b.StopTimer()

		var was, is int64
		for i, s := range f.l.Sizes(due) {
			was, is = was+preview[i].Before, is+s.After
		}
		b.ReportMetric(float64(len(preview)), "segments")
		b.ReportMetric(float64(f.l.Status().AgedOutEvents), "events-aged-out")
		b.ReportMetric(float64(was)/1e6, "MB-before")
		b.ReportMetric(float64(is)/1e6, "MB-after")
		b.ReportMetric((heapInUse()-before)/1e6, "MB-heap-grown")
		closeLedger(b, f.l)
	}
}

// heapInUse is what the heap holds, with what is not collected yet.
func heapInUse() float64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return float64(s[0].Value.Uint64())
}
