package ledger

import (
	"context"
	"fmt"
	"hash/maphash"
	"testing"
	"time"

	"home.lab/event-store/ledger/sample"
)

// realistic is an event of about 350 bytes as a line.
func realistic(seq uint64) Message {
	return Message{Seq: seq, Time: epoch.Add(time.Duration(seq) * time.Millisecond), Subject: "events.service",
		Data: fmt.Appendf(nil, `{"action":"container.restart","actor":"user-%d","target":"host/cache-%04d","data":{"image":"docker.io/library/postgres:16.4-alpine","container_id":"e837ff4dda4d6cc3721affef06d4b2e416f09bc2","exit_code":%d,"duration_ms":%d},"result":"success","error":null}`,
			seq%50, seq%2000, seq%256, seq*7919%5000)}
}

func BenchmarkDecode(b *testing.B) {
	m, known := realistic(1), DefaultConfig().Categories
	b.SetBytes(int64(len(m.Data)))
	b.ReportAllocs()
	p := new(plain)
	for b.Loop() {
		p.out = p.out[:0]
		if _, ok := p.event(m.Data, "service", known); !ok {
			b.Fatal("went the long way")
		}
	}
}

// BenchmarkDecodeAny is the long way, for what is not plain.
func BenchmarkDecodeAny(b *testing.B) {
	m, known := realistic(1), DefaultConfig().Categories
	b.SetBytes(int64(len(m.Data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decodeAny(m.Data, "service", known); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkProject is decode, chain, write and fdatasync, in batches of 1,000.
func BenchmarkProject(b *testing.B) {
	l := open(b, b.TempDir(), Config{})
	defer l.Close()
	seq := uint64(0)
	batch := make([]Message, 1000)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for i := range batch {
			seq++
			batch[i] = realistic(seq)
		}
		b.StartTimer()
		if err := l.Project(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Wait(context.Background(), ID(seq)); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(seq)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkCommitOne is one event at a time, each waited for.
func BenchmarkCommitOne(b *testing.B) {
	l := open(b, b.TempDir(), Config{})
	defer l.Close()
	seq := uint64(0)
	for b.Loop() {
		seq++
		project(b, l, realistic(seq))
	}
}

// filled makes a ledger of n events, sealed but for its active segment.
func filled(b *testing.B, n int) *Ledger {
	c := DefaultConfig()
	c.MaxFileSize = 8_000_000
	l := open(b, b.TempDir(), c)
	f := &feed{t: b, l: l}
	f.own()
	batch := make([]Message, n)
	for i := range batch {
		batch[i] = realistic(f.seq + uint64(i) + 1)
	}
	project(b, l, batch...)
	f.seq, f.at = f.seq+uint64(n), time.Duration(n+10)*time.Second
	f.settleSeals()
	return l
}

// BenchmarkVerify verifies 100,000 events as users send them.
func BenchmarkVerify(b *testing.B) {
	for name, size := range map[string]int64{"plain": 1 << 40, "sealed": 6_000_000, "one": 45_000_000} {
		b.Run(name, func(b *testing.B) {
			c := DefaultConfig()
			c.MaxFileSize = size
			l := open(b, b.TempDir(), c)
			defer l.Close()
			f := &feed{t: b, l: l}
			f.own()
			events := sample.New(1)
			batch := make([]Message, 100_000)
			for i := range batch {
				category, event := events.Next()
				f.seq++
				batch[i] = Message{Seq: f.seq, Time: epoch.Add(time.Duration(f.seq) * time.Millisecond), Subject: "events." + category, Data: event}
			}
			project(b, l, batch...)
			f.at = time.Duration(f.seq) * time.Millisecond // the seals are not the first of another day
			if name != "plain" {
				f.settleSeals()
			}
			n := int64(0)
			for _, s := range l.view.Load().all() {
				n += s.size
			}
			b.SetBytes(n)
			for b.Loop() {
				if r, err := l.Verify(context.Background(), VerifyOptions{}); err != nil || r.Status != "valid" {
					b.Fatal(err, r)
				}
			}
		})
	}
}

func BenchmarkGet(b *testing.B) {
	l := filled(b, 100_000)
	defer l.Close()
	id := ID(0)
	for b.Loop() {
		if id += 7919; id > 100_000 {
			id -= 100_000
		}
		if _, err := l.Get(id); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkQuery gives all events, and the newest 50.
func BenchmarkQuery(b *testing.B) {
	l := filled(b, 100_000)
	defer l.Close()
	for name, f := range map[string]Filter{"all": {}, "newest": {Limit: 50}, "actor": {Actors: []string{"user-7"}, Limit: 50}, "chosen": {Results: []string{"success"}}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := l.Query(context.Background(), f, func([]byte) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkIndexAdd is what a chained event costs for the index.
func BenchmarkIndexAdd(b *testing.B) {
	var lines []line
	s := sample.New(1)
	for i := range 10_000 {
		category, event := s.Next()
		d, err := decode(event, category, DefaultConfig().Categories)
		if err != nil {
			b.Fatal(err)
		}
		lines = append(lines, line{id: ID(i + 1), category: []byte(d.category), action: d.action, actor: d.actor, target: d.target, result: d.result})
	}
	g := newGrowing(1)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%150_000 == 0 {
			g = newGrowing(ID(i + 1))
		}
		l := lines[i%len(lines)]
		l.id = ID(i + 1)
		g.add(&l)
	}
}

// BenchmarkIndexCheck is what comparing an index costs a verification per line.
func BenchmarkIndexCheck(b *testing.B) {
	c := &indexCheck{x: &index{first: 1}, seed: maphash.MakeSeed(), key: 7}
	ln, err := parseLine([]byte(`{"id":"000000000001","timestamp":"2025-12-24T10:00:01.123456Z","category":"security","action":"secret.read","actor":"user-alice01","target":"container/media-0019","data":{},"result":"success","error":null,"previous_hash":"` + GenesisHash + `","hash":"` + GenesisHash + `"}`))
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		ln.id = ID(i%100_000 + 1)
		c.take(&ln, nil, 500)
	}
}

// BenchmarkCompare is what start-up does with each message that the stream
// still holds.
func BenchmarkCompare(b *testing.B) {
	l := open(b, b.TempDir(), Config{})
	defer l.Close()
	msgs := make([]Message, 20_000)
	for i := range msgs {
		msgs[i] = realistic(uint64(i) + 1)
	}
	project(b, l, msgs...)
	b.ReportAllocs()
	c, i := l.Compare(), 0
	for b.Loop() {
		if same, err := c.Matches(msgs[i%len(msgs)]); err != nil || !same {
			b.Fatal(same, err)
		}
		i++
	}
}
