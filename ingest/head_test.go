package ingest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"home.lab/event-store/ledger"
)

// However many commits there are, the head is told a few times a second: each is one of the chain, and the last is told.
func TestHeadsComeAFewTimesASecond(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	heads, err := f.client().SubscribeSync(headSubject)
	if err != nil {
		t.Fatal(err)
	}
	f.appendSoon()
	began, commits := time.Now(), 0
	for time.Since(began) < 1500*time.Millisecond {
		f.appendSoon()
		commits++
	}
	told, last := 0, f.led.Head()
	for id := ledger.ID(0); id != last.ID; told++ {
		m, err := heads.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatalf("no head %s, the last was %s: %v", last.ID, id, err)
		}
		var head struct{ ID, Hash string }
		if err := json.Unmarshal(m.Data, &head); err != nil {
			t.Fatal(err)
		}
		before := id
		if id, err = ledger.ParseID(head.ID); err != nil || id <= before || !strings.Contains(f.get(id), `"hash":"`+head.Hash+`"`) {
			t.Errorf("head %+v behind %s: %v", head, before, err)
		}
	}
	if most := 2 + int(time.Since(began)*5/time.Second); told > most || told < 3 || commits < 2*most {
		t.Errorf("%d heads of %d commits in %v, want 3 to %d", told, commits, time.Since(began), most)
	}
}
