package sample

import (
	"encoding/json"
	"testing"
)

func TestEventsAreWhatIsPromised(t *testing.T) {
	const n = 300_000
	g, again := New(7), New(7)
	categories, actorsSeen, targetsSeen := map[string]int{}, map[string]int{}, map[string]int{}
	size := 0
	for i := range n {
		category, event := g.Next()
		if c, e := again.Next(); c != category || string(e) != string(event) {
			t.Fatalf("event %d differs with the same seed", i)
		}
		size += len(event)
		if i%10 != 0 {
			continue
		}
		var e struct{ Category, Action, Actor, Target, Result string }
		if err := json.Unmarshal(event, &e); err != nil || e.Category != category || e.Action == "" {
			t.Fatalf("event %d: %v: %s", i, err, event)
		}
		categories[category]++
		actorsSeen[e.Actor]++
		targetsSeen[e.Target]++
	}
	if len(categories) != 7 || len(actorsSeen) < 45 || len(actorsSeen) > 51 || len(targetsSeen) < 1500 {
		t.Fatalf("%d categories, %d actors, %d targets", len(categories), len(actorsSeen), len(targetsSeen))
	}
	if mean := size / n; mean < 250 || mean > 350 {
		t.Fatalf("an event has %d bytes", mean)
	}
}
