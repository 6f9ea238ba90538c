package ingest

import "testing"

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
