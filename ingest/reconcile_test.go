package ingest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

// filled is a stopped store with n events, every third of category user.
func filled(t *testing.T, n int) (dir string, old []string) {
	t.Helper()
	dir = t.TempDir()
	f := start(t, dir)
	for k := range n {
		publish(t, f.ing.js, k)
		old = append(old, f.get(ledger.ID(k+1)))
	}
	f.close()
	return dir, old
}

func publish(t *testing.T, js jetstream.JetStream, k int) {
	t.Helper()
	category := "system"
	if k%3 == 0 {
		category = "user"
	}
	if _, err := js.Publish(t.Context(), "events."+category, fmt.Appendf(nil, `{"action":"n%d","actor":"tester"}`, k)); err != nil {
		t.Fatal(err)
	}
}

// withEvents runs do on the stopped store's stream.
func withEvents(t *testing.T, dir string, do func(js jetstream.JetStream, s jetstream.Stream)) {
	t.Helper()
	withStream(t, dir, func(js jetstream.JetStream) {
		s, err := js.Stream(t.Context(), "EVENTS")
		if err != nil {
			t.Fatal(err)
		}
		do(js, s)
	})
}

// goesOn starts the store and wants the old events as they were, nothing moved,
// and the next event under the id next.
func goesOn(t *testing.T, dir string, old []string, next ledger.ID) *fixture {
	t.Helper()
	f := start(t, dir)
	if id := put(t, f); id != next {
		t.Errorf("the next id is %s, want %s", id, next)
	}
	f.get(next)
	for n, line := range old {
		if got := f.get(ledger.ID(n + 1)); got != line {
			t.Errorf("event %d is %s, was %s", n+1, got, line)
		}
	}
	if moved := f.ing.Status().Moved; len(moved) > 0 {
		t.Errorf("moved: %+v", moved)
	}
	return f
}

// missing wants the event id to say that first to id are missing.
func missing(t *testing.T, f *fixture, first, id ledger.ID) {
	t.Helper()
	want := fmt.Sprintf(`"first_id":"%s","last_id":"%s"`, first, id)
	if line := f.get(id); !strings.Contains(line, `"events_missing"`) || !strings.Contains(line, want) {
		t.Errorf("event %s is %s, want %s", id, line, want)
	}
}

func TestStreamDeletedBeginsBehindTheLedger(t *testing.T) {
	t.Parallel()
	dir, old := filled(t, 10)
	withEvents(t, dir, func(js jetstream.JetStream, _ jetstream.Stream) {
		if err := js.DeleteStream(t.Context(), "EVENTS"); err != nil {
			t.Fatal(err)
		}
	})
	f := goesOn(t, dir, old, 11)
	s, err := f.ing.js.Stream(t.Context(), "EVENTS")
	if err != nil || s.CachedInfo().State.FirstSeq != 11 {
		t.Errorf("the stream begins at %d, %v", s.CachedInfo().State.FirstSeq, err)
	}
}

func TestStreamPurgedIsTheSameHistory(t *testing.T) {
	t.Parallel()
	dir, old := filled(t, 10)
	withEvents(t, dir, func(_ jetstream.JetStream, s jetstream.Stream) {
		if err := s.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	goesOn(t, dir, old, 11)
}

func TestStreamWithHolesIsTheSameHistory(t *testing.T) {
	t.Parallel()
	dir, old := filled(t, 10)
	withEvents(t, dir, func(_ jetstream.JetStream, s jetstream.Stream) {
		if err := s.Purge(t.Context(), jetstream.WithPurgeSubject("events.user")); err != nil { // also the last one
			t.Fatal(err)
		}
	})
	goesOn(t, dir, old, 11)
}

// Messages that the ledger does not have yet are purged: the ids are named.
func TestHolesBecomeEventsMissing(t *testing.T) {
	t.Parallel()
	dir, old := filled(t, 10)
	withEvents(t, dir, func(js jetstream.JetStream, s jetstream.Stream) {
		for k := 10; k < 20; k++ { // ids 11 to 20; 13, 16 and 19 are of category user
			publish(t, js, k)
		}
		if err := s.Purge(t.Context(), jetstream.WithPurgeSubject("events.user")); err != nil {
			t.Fatal(err)
		}
	})
	f := goesOn(t, dir, old, 21)
	for _, id := range []ledger.ID{13, 16, 19} {
		missing(t, f, id, id)
	}
	if n := f.led.Status().MissingIDs; n != 3 {
		t.Errorf("%d ids are missing, want 3", n)
	}
}

func TestLedgerBehindTheStreamsFirst(t *testing.T) {
	t.Parallel()
	dir, old := filled(t, 10)
	withEvents(t, dir, func(js jetstream.JetStream, s jetstream.Stream) {
		for k := 10; k < 20; k++ {
			publish(t, js, k)
		}
		if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(18)); err != nil {
			t.Fatal(err)
		}
	})
	f := goesOn(t, dir, old, 21)
	missing(t, f, 11, 17)
}

// A hole at the stream's end shows with the next message.
func TestHoleAtTheEnd(t *testing.T) {
	t.Parallel()
	dir, old := filled(t, 10)
	withEvents(t, dir, func(js jetstream.JetStream, s jetstream.Stream) {
		for k := 10; k < 20; k++ {
			publish(t, js, k)
		}
		if err := s.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	f := goesOn(t, dir, old, 21)
	missing(t, f, 11, 20)
}

// An ordered consumer that is purged from under jumps without an error.
func TestPurgeUnderALaggingConsumer(t *testing.T) {
	t.Parallel()
	dir, _ := filled(t, 10)
	const n = 30_000
	withEvents(t, dir, func(js jetstream.JetStream, _ jetstream.Stream) {
		for range n {
			if _, err := js.PublishAsync("events.system", []byte(event), jetstream.WithStallWait(30*time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		<-js.PublishAsyncComplete()
	})
	f := start(t, dir)
	s, err := f.ing.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Purge(t.Context(), jetstream.WithPurgeSequence(n)); err != nil { // 30,000 to 30,010 stay
		t.Fatal(err)
	}
	head := f.led.Head().ID
	if head >= n {
		t.Skip("the consumer was faster than the purge")
	}
	f.get(n + 10)
	if id := put(t, f); id != n+11 {
		t.Errorf("the next id is %s", id)
	}
	f.get(n + 11)
	st := f.led.Status()
	if st.MissingIDs == 0 || st.MissingIDs+st.TotalEvents < n+11 {
		t.Errorf("%d events and %d missing ids of %d; the head was %s", st.TotalEvents, st.MissingIDs, n+11, head)
	}
}

// The stream's clock was an hour ahead and is put right: message times step
// back, events' do not, and it stays one history.
func TestMessageTimesStepBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	led := openLedger(t, dir)
	ahead := time.Now().Add(time.Hour)
	if err := led.Project(t.Context(), []ledger.Message{{Seq: 1, Time: ahead, Subject: "events.system", Data: []byte(event)}}); err != nil {
		t.Fatal(err)
	}
	if err := led.Wait(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	f, err := tryStartWith(t, dir, led, Options{})
	if err != nil {
		t.Fatal(err)
	}
	old := []string{f.get(1), f.get(put(t, f)), f.get(put(t, f))}
	want := `"timestamp":"` + ahead.UTC().Format(headTimestamp) + `"`
	for n, line := range old {
		if !strings.Contains(line, want) {
			t.Errorf("event %d is %s, want %s", n+1, line, want)
		}
	}
	f.close()
	f = goesOn(t, dir, old, 4)
	if first, last, differs, err := f.ing.Compare(t.Context()); err != nil || first != 2 || last != 4 || differs != 0 {
		t.Errorf("Compare: %s to %s, differs %s, %v", first, last, differs, err)
	}
}

// Another replica moves the stream forward while this one compares it: all that
// was to be compared is gone, and so far nothing comes behind it.
func TestComparisonOfWhatIsPurgedMeanwhileEnds(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	for k := range 5 {
		publish(t, f.ing.js, k)
	}
	f.get(5)
	s, err := f.ing.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	state := s.CachedInfo().State
	if err := s.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, _, differs, err := f.ing.branch(ctx, state); err != nil || differs != 0 {
		t.Errorf("branch: %s %v", differs, err)
	}
}
