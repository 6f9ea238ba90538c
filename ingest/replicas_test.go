package ingest

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
	"home.lab/event-store/ledger/sample"
)

var mixedEvents = flag.Uint64("events", 20_000, "events that replicas project in a test")

// mixed publishes until the stream has n messages: valid events and what is
// none, some twice under one Nats-Msg-Id, and atomic batches. Servers may stop
// and start meanwhile. at is told of the stream's last sequence after every
// chunk.
func mixed(t *testing.T, js jetstream.JetStream, n uint64, at func(last uint64)) {
	events, random := sample.New(1), rand.New(rand.NewPCG(1, 2))
	for chunk, last := 0, uint64(0); last < n; chunk++ {
		for k := range 1000 {
			category, data := events.Next()
			m := &nats.Msg{Subject: "events." + category, Data: data, Header: nats.Header{}}
			switch random.IntN(20) {
			case 0:
				m.Data = m.Data[:len(m.Data)/2]
			case 1:
				m.Subject = "events.nowhere.at.all"
			case 2, 3:
				m.Header.Set(jetstream.MsgIDHeader, fmt.Sprint(chunk, "-", k/2)) // half of them duplicates
			}
			if _, err := js.PublishMsgAsync(m, jetstream.WithStallWait(time.Minute)); err != nil {
				time.Sleep(10 * time.Millisecond) // not connected
			}
		}
		select {
		case <-js.PublishAsyncComplete():
		case <-time.After(2 * time.Minute):
			t.Fatal("no acknowledgements for two minutes")
		}
		batch(js.Conn(), events)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		if s, err := js.Stream(ctx, "EVENTS"); err == nil {
			last = s.CachedInfo().State.LastSeq
			at(last)
		}
		cancel()
	}
}

// batch publishes a publisher's atomic batch.
func batch(nc *nats.Conn, events *sample.Generator) {
	id := nats.NewInbox()
	for n := 1; n <= 50; n++ {
		category, data := events.Next()
		m := &nats.Msg{Subject: "events." + category, Data: data, Header: nats.Header{}}
		m.Header.Set("Nats-Batch-Id", id)
		m.Header.Set("Nats-Batch-Sequence", fmt.Sprint(n))
		if n == 50 {
			m.Header.Set("Nats-Batch-Commit", "1")
		}
		nc.RequestMsg(m, time.Second) // without a server nothing is stored
	}
}

// milestones calls each of do, one after the other, when the stream has grown
// by another share of n.
func milestones(n uint64, do ...func()) func(last uint64) {
	next := 1
	return func(last uint64) {
		if next <= len(do) && last > n*uint64(next)/uint64(len(do)+1) {
			do[next-1]()
			next++
		}
	}
}

// agree wants the stores to have the same ledger: heads, and files byte by byte.
func agree(t *testing.T, stores ...*fixture) {
	t.Helper()
	last := stores[0].appendSoon()
	soon(t, "all is sealed and chained", func() bool { return len(stores[0].led.OwnMessages()) == 0 })
	last = max(last, stores[0].appendSoon())
	for _, f := range stores {
		f.t = t
		f.get(last)
	}
	soon(t, "one head", func() bool {
		for _, f := range stores {
			if f.led.Head() != stores[0].led.Head() {
				return false
			}
		}
		return true
	})
	for _, f := range stores {
		soon(t, "one plain segment", func() bool { plain, _ := filepath.Glob(filepath.Join(f.dir, "*.jsonl")); return len(plain) == 1 })
		st := f.led.Status()
		t.Logf("%d events, %d missing ids, %d files, %v", st.TotalEvents, st.MissingIDs, st.FileCount, st.Categories)
		f.close()
	}
	for _, f := range stores[1:] {
		sameFiles(t, stores[0].dir, f.dir)
	}
}

// Three stores with folders of their own: two with the key and different
// configurations, one that follows. Each of them and NATS restart under load.
func TestReplicasAreByteIdentical(t *testing.T) {
	t.Parallel()
	nats, log := newExternal(t, ""), &lines{}
	o := Options{URL: nats.url(), Logger: log.logger()}
	a := storeWith(t, o, t.TempDir(), 3<<20).ready()
	a.appendSoon()
	b := storeWith(t, o, copyKeys(t, a.dir, "ledger.key", "ledger.pub"), 5<<20).ready()
	c := storeWith(t, o, copyKeys(t, a.dir, "ledger.pub"), 100e6).ready()
	mixed(t, nats.js(), *mixedEvents, milestones(*mixedEvents,
		func() { a.close(); a = storeWith(t, o, a.dir, 3<<20) },
		func() { b.close(); b = storeWith(t, o, b.dir, 5<<20) },
		func() { nats.stop(); nats.start(); b.appendBulk(1000) },
		func() { c.close(); c = storeWith(t, o, c.dir, 100e6) },
		func() { a.close(); a = storeWith(t, o, a.dir, 3<<20); nats.stop(); nats.start() },
	))
	agree(t, a, b, c)
}

// appendBulk appends a batch through a store.
func (f *fixture) appendBulk(n int) {
	f.t.Helper()
	var ds []ledger.Draft
	for k := range n {
		ds = append(ds, f.draft(fmt.Sprint("bulk", k)))
	}
	soon(f.t, "a bulk append", func() bool {
		_, _, err := f.ing.AppendBatch(context.Background(), ds)
		return err == nil
	})
}

// NATS comes back without what it acknowledged, and all stores have that: the
// stream goes on behind it for all of them.
func TestReplicasOutliveALostTail(t *testing.T) {
	t.Parallel()
	nats, log := newExternal(t, ""), &lines{}
	o := Options{URL: nats.url(), Logger: log.logger()}
	a := storeWith(t, o, t.TempDir(), 1<<20).ready()
	b := storeWith(t, o, copyKeys(t, a.dir, "ledger.key", "ledger.pub"), 1<<20).ready()
	c := storeWith(t, o, copyKeys(t, a.dir, "ledger.pub"), 1<<20).ready()
	stores := []*fixture{a, b, c}
	a.appendSoon()
	nats.stop()
	load := nats.save()
	nats.start()
	for range 5 {
		a.appendSoon()
	}
	last := b.appendSoon()
	for _, f := range stores {
		f.get(last)
	}
	nats.stop()
	load()
	nats.start()
	for _, f := range stores {
		if id := f.appendSoon(); id <= last {
			t.Errorf("id %s after %s", id, last)
		}
	}
	if n := a.led.Status().MissingIDs; n != 0 {
		t.Errorf("%d ids are missing", n)
	}
	agree(t, a, b, c)
}
