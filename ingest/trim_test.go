package ingest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

// TestStopTrims: what all have on disk need not be compared at the next start.
func TestStopTrims(t *testing.T) {
	t.Parallel()
	f := storeWith(t, Options{}, t.TempDir(), 1<<20).ready()
	burst(t, f.ing.js, trimStep+10_000)
	soon(t, "a ledger that has them all", func() bool { return f.led.Head().ID > trimStep+10_000 })
	f.get(f.appendSoon())
	needs, dir := f.ing.needs(), f.dir
	if first := firstSeq(t, f.ing.js); first != 1 {
		t.Fatalf("the stream begins at %d before the end", first)
	}
	f.close()
	f = storeWith(t, Options{}, dir, 1<<20).ready()
	defer f.close()
	if first := firstSeq(t, f.ing.js); first < trimStep || first != needs {
		t.Errorf("the stream begins at %d after the end, want %d", first, needs)
	}
}

// TestTrimmingKeepsIdempotencyKeys: the server knows the keys of the messages
// that it still has.
func TestTrimmingKeepsIdempotencyKeys(t *testing.T) {
	t.Parallel()
	f := storeWith(t, Options{}, t.TempDir(), 1<<20).ready()
	first, _, err := f.ing.Append(t.Context(), f.draft("once"), "k1")
	if err != nil {
		t.Fatal(err)
	}
	burst(t, f.ing.js, trimStep+10_000)
	soon(t, "a ledger that has them all", func() bool { return f.led.Head().ID > trimStep+10_000 })
	f.get(f.appendSoon())
	for range 2 { // the second start knows it by what it compares
		dir := f.dir
		f.close()
		f = storeWith(t, Options{}, dir, 1<<20).ready()
		id, duplicate, err := f.ing.Append(t.Context(), f.draft("once"), "k1")
		if err != nil || id != first || !duplicate {
			t.Errorf("again: %s, duplicate %t, %v; want %s", id, duplicate, err, first)
		}
	}
	f.close()
}

// TestHalfFullStreamIsTrimmedForAnyGain: large events fill a stream long before
// they are many.
func TestHalfFullStreamIsTrimmedForAnyGain(t *testing.T) {
	t.Parallel()
	f := storeWith(t, Options{MaxBytes: 2 << 20}, t.TempDir(), 1<<20).ready()
	defer f.close()
	burst(t, f.ing.js, 5000)
	trim := func() uint64 {
		info := f.ing.must(f.ing.info(t.Context()))
		if err := f.ing.trim(t.Context(), info.State, info.Config.MaxBytes); err != nil {
			t.Fatal(err)
		}
		return firstSeq(t, f.ing.js)
	}
	soon(t, "a ledger that has them all", func() bool { return f.led.Head().ID > 5000 })
	if first := trim(); first != 1 {
		t.Fatalf("it begins at %d while there is room", first)
	}
	for n := ledger.ID(10_000); n < trimStep; n += 5000 {
		burst(t, f.ing.js, 5000)
		soon(t, "a ledger that has them all", func() bool { return f.led.Head().ID > n })
		info := f.ing.must(f.ing.info(t.Context()))
		if info.State.FirstSeq > 1 || info.State.Bytes*100 >= uint64(info.Config.MaxBytes)*trimFull { // the store itself may have done it
			if first := trim(); first == 1 || first > trimStep {
				t.Errorf("it begins at %d, half full", first)
			}
			return
		}
	}
	t.Fatal("it was never half full")
}

// TestTrimmingKeepsTheLastCommittedMessage: a folder that was copied without its active segment needs nothing behind what
// is sealed, but the comparison at the next start needs a message.
func TestTrimmingKeepsTheLastCommittedMessage(t *testing.T) {
	t.Parallel()
	f := storeWith(t, Options{}, t.TempDir(), 64<<10).ready()
	burst(t, f.ing.js, 300)
	f.get(f.appendSoon())
	sealed := func() []string {
		names, _ := filepath.Glob(filepath.Join(f.dir, "events_*.gz"))
		return names
	}
	soon(t, "a sealed segment", func() bool { return len(sealed()) == 1 })
	dir := f.dir
	f.close()
	active, _ := filepath.Glob(filepath.Join(dir, "events_*.jsonl"))
	if len(active) != 1 {
		t.Fatal(active)
	}
	if err := os.Remove(active[0]); err != nil {
		t.Fatal(err)
	}
	led := openLedger(t, dir)
	o := Options{Dir: filepath.Join(dir, "jetstream"), MaxBytes: 64 << 20, Listen: "127.0.0.1:0", NameFile: filepath.Join(dir, "replica")}
	ing, err := Open(t.Context(), o, led)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { ing.Close(); led.Close() }()
	head := led.Head().ID
	info := ing.must(ing.info(t.Context()))
	if led.ActiveFirst() != head+1 || info.State.FirstSeq != 1 || info.State.LastSeq <= uint64(head) {
		t.Fatalf("head %s, the active segment begins at %s, the stream is %+v", head, led.ActiveFirst(), info.State)
	}
	if err := ing.trim(t.Context(), info.State, 1); err != nil { // as in a stream that is full
		t.Fatal(err)
	}
	if first := firstSeq(t, ing.js); first != uint64(head) {
		t.Errorf("the stream begins at %d, want %d, the last that is committed", first, head)
	}
}

// TestLowerLimitOfTheStream: the stream was made with a larger one.
func TestLowerLimitOfTheStream(t *testing.T) {
	t.Parallel()
	f := storeWith(t, Options{MaxBytes: 8 << 30}, t.TempDir(), 1<<20).ready()
	f.get(f.appendSoon())
	dir := f.dir
	f.close()
	f = storeWith(t, Options{MaxBytes: 64 << 20}, dir, 1<<20).ready()
	defer f.close()
	f.get(f.appendSoon())
	if info := f.ing.must(f.ing.info(t.Context())); info.Config.MaxBytes != 64<<20 {
		t.Errorf("the limit is %d", info.Config.MaxBytes)
	}
}

func (i *Ingest) must(info *jetstream.StreamInfo, err error) *jetstream.StreamInfo {
	if err != nil {
		panic(err)
	}
	return info
}
