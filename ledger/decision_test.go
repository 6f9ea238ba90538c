package ledger

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

func TestForgedDecisionsChangeNothing(t *testing.T) {
	f, dir := agedFeed(t)
	now := epoch.Add(f.at)
	due := f.l.Due(now)
	own, _, _ := f.l.Decide(due)
	send := func(data []byte) bool {
		f.at -= time.Second - time.Millisecond
		f.send(subjectOwn+actionAged, data)
		return rejectedAt(t, f.l, ID(f.seq))
	}
	if !send(bytes.Replace(own.Data, []byte(`"count":`), []byte(`"count":1`), 1)) {
		t.Error("an edited decision was believed")
	}
	young := f.l.Due(now.Add(400 * day))
	for _, c := range young {
		if c.Category == CategoryLedger {
			t.Error("category ledger is due")
		}
	}
	early, _, _ := f.l.Decide(young)
	if !send(early.Data) {
		t.Error("a premature decision was believed")
	}
	wrong := slices.Clone(due)
	wrong[0].digest = GenesisHash
	other, _, _ := f.l.Decide(wrong)
	if !send(other.Data) {
		t.Error("a decision about another manifest was believed")
	}
	if got := f.l.Status().AgedOutEvents; got != 0 {
		t.Errorf("%d events aged out", got)
	}
	if send(own.Data) {
		t.Error("the right decision was not believed")
	}
	aged := f.l.Status().AgedOutEvents
	if send(own.Data) || f.l.Status().AgedOutEvents != aged {
		t.Error("a repetition must be chained and have no effect")
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}

func TestShorteningSparesOlderEventsForAWeek(t *testing.T) {
	c := DefaultConfig()
	short := DefaultConfig()
	short.Categories["security"] = Policy{Retention: time.Hour}
	at := func(d time.Duration) micros { return micros(d / time.Microsecond) }
	configs := []configSince{{config: c}, {from: 2, since: at(100 * day), config: short}}
	for _, tc := range []struct {
		first, last, at time.Duration
		want            bool
	}{
		{10 * day, 11 * day, 101 * day, false},                // the year still holds
		{10 * day, 11 * day, 107*day - 1, false},              // a week is not over
		{10 * day, 11 * day, 107 * day, true},                 // it is
		{101 * day, 101*day + 1, 101*day + 2*time.Hour, true}, // younger than the shortening
		{101 * day, 102 * day, 102 * day, false},              // too young
	} {
		if got := justified(configs, "security", at(tc.first), at(tc.last), at(tc.at)); got != tc.want {
			t.Errorf("%v: %v", tc, got)
		}
	}
	configs[0].config, configs[1].config = short, c // lengthened: acts at once
	if justified(configs, "security", at(10*day), at(11*day), at(101*day)) {
		t.Error("a lengthened retention acts at once")
	}
}

// A signed configuration that was in force once and is sent again must not
// undo the one that came after it.
func TestReplayedConfigurationChangesNothing(t *testing.T) {
	dir := t.TempDir()
	short := DefaultConfig()
	short.Categories["security"] = Policy{Retention: time.Hour}
	f := &feed{t: t, l: open(t, dir, short)}
	f.logins(1)
	f.own()
	old := f.log[len(f.log)-1]
	closeLedger(t, f.l)

	f.l = open(t, dir, DefaultConfig())
	f.own()
	f.send(old.Subject, old.Data)
	if !rejectedAt(t, f.l, ID(f.seq)) {
		t.Errorf("the replayed configuration was believed: %v", f.l.view.Load().config)
	}
	current := f.log[len(f.log)-2]
	f.send(current.Subject, current.Data)
	if rejectedAt(t, f.l, ID(f.seq)) || len(f.l.OwnMessages()) > 0 {
		t.Error("the repetition of the configuration in force has an effect")
	}
	closeLedger(t, f.l)
	if r := mustValid(t, dir, VerifyOptions{}); len(r.Policies) != 3 {
		t.Errorf("policies %+v", r.Policies)
	}
}

// TestJustifiedIsItsDefinition compares, for all small histories of a policy,
// with the rule as DESIGN has it, instant by instant: the longest retention in
// force at any time from max(first, decision - 7 d) to the decision.
func TestJustifiedIsItsDefinition(t *testing.T) {
	days := func(n int) micros { return micros(time.Duration(n) * day / time.Microsecond) }
	retentions := []int{0, 3, 9, 20} // days; 0: forever
	definition := func(configs []configSince, first, last, at int) bool {
		for instant := max(first, at-7); instant <= at; instant++ {
			inForce := configs[0]
			for _, c := range configs {
				if c.since <= days(instant) {
					inForce = c
				}
			}
			if r := inForce.config.Categories["user"].Retention; r == 0 || days(at).sub(days(last)) < r {
				return false
			}
		}
		return true
	}
	n := 0
	for _, a := range retentions {
		for _, b := range retentions {
			for _, c := range retentions {
				for _, since := range [][2]int{{2, 5}, {10, 30}, {24, 26}, {31, 33}, {27, 28}} {
					configs := []configSince{{}, {from: 5, since: days(since[0])}, {from: 9, since: days(since[1])}}
					for i, r := range []int{a, b, c} {
						configs[i].config.Categories = map[string]Policy{"user": {Retention: time.Duration(r) * day}}
					}
					for at := 5; at < 45; at += 2 {
						for last := 1; last <= at; last += 3 {
							for _, first := range []int{1, last} {
								n++
								if got, want := justified(configs, "user", days(first), days(last), days(at)), definition(configs, first, last, at); got != want {
									t.Fatalf("%d, %d, %d since %v: cell %d to %d at %d: %v, by definition %v", a, b, c, since, first, last, at, got, want)
								}
							}
						}
					}
				}
			}
		}
	}
	if n < 50_000 {
		t.Errorf("only %d cases", n)
	}
}

// TestNothingIsDueUnderPoliciesThatCannotBeRead: a decision that the projection
// itself would refuse stops it for good.
func TestNothingIsDueUnderPoliciesThatCannotBeRead(t *testing.T) {
	f, dir := agedFeed(t)
	now := epoch.Add(f.at)
	all := len(f.l.Due(now))
	for since, want := range map[time.Duration]int{0: 0, 6 * day: 0, 8 * day: all} {
		f.l.proj.known = microsOf(now.Add(-since))
		if due := f.l.Due(now); len(due) != want {
			t.Errorf("known since %s: %d cells are due, want %d", since, len(due), want)
		}
	}
	if all == 0 {
		t.Error("nothing was due")
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}
