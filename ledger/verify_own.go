package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"
)

// checkOwn checks the store's own events: signatures, every manifest against
// its segment_sealed, the policies that the chain tells of, and testimonies.
func (v *verification) checkOwn() {
	sealed := map[string]bool{}             // by segment name
	allowed := map[string]map[string]bool{} // decided categories by segment name
	configs := []configSince{{config: DefaultConfig()}}
	v.policy(configs[0].config, ownEvent{}, nil)
	for _, r := range v.results {
		for _, e := range r.own {
			if e.action == "events_missing" && e.category == CategoryLedger {
				continue
			}
			statement, ok := v.signed(e)
			if !ok {
				r.find(Finding{Kind: "bad_signature", ID: e.id.String(), File: e.file, Line: e.line,
					Message: fmt.Sprintf("event %s is not signed with the ledger's key", e.id)})
				continue
			}
			switch {
			case e.category != CategoryLedger:
				v.checkTestimony(r, e, configs[len(configs)-1].config)
			case e.action == actionAged:
				v.checkDecision(r, e, configs, sealed, allowed)
			case e.action == actionSeal:
				v.checkSeal(e, statement, sealed)
			case e.action == actionConf:
				configs = v.checkConfig(r, e, configs)
			default:
				r.find(Finding{Kind: "unknown_own_event", ID: e.id.String(), Line: e.line, Message: fmt.Sprintf("event %s: the store has no action %s", e.id, e.action)})
			}
		}
	}
	v.unsealed(sealed)
	v.contents()
	for _, r := range v.results {
		v.report.Pending += r.pending(allowed[r.in.name])
		if len(r.gaps) > 0 {
			v.checkGaps(r, sealed[r.in.name], allowed[r.in.name])
		}
	}
	if len(configs) > 1 && configs[1].from == 2 {
		configs = configs[1:] // nothing was ever chained under the defaults
	}
	for _, name := range slices.Sorted(maps.Keys(v.opts.Require)) {
		if !slices.ContainsFunc(configs, func(c configSince) bool { _, ok := c.config.Categories[name]; return ok }) {
			v.find(Finding{Kind: "policy_missing", Message: "no chained configuration has the required category " + quoteShort(name)})
		}
	}
	for _, c := range configs {
		v.checkFloor(c.config)
	}
}

// pending counts the events that were decided to age out and are still there.
func (r *segmentResult) pending(allowed map[string]bool) (n int64) {
	if r.tally == nil {
		return 0
	}
	for category, cell := range r.tally.cells {
		if allowed[category] {
			n += cell.count
		}
	}
	return n
}

// checkConfig adds a chained configuration to the policy history. A repetition
// of the one in force has no effect.
func (v *verification) checkConfig(r *segmentResult, e ownEvent, configs []configSince) []configSince {
	last := configs[len(configs)-1]
	c, replaces, err := parseConfig(e.data)
	switch {
	case err != nil:
		r.find(Finding{Kind: "malformed_configuration", ID: e.id.String(), File: e.file, Line: e.line, Message: fmt.Sprintf("event %s: %v", e.id, err)})
	case c.equal(last.config):
	case replaces != last.id():
		r.find(Finding{Kind: "configuration_not_allowed", ID: e.id.String(), File: e.file, Line: e.line,
			Message: fmt.Sprintf("configuration %s replaces that of %s, in force was that of %s", e.id, replaces, last.id())})
	default:
		v.policy(c, e, configs)
		return append(configs, configSince{e.id + 1, e.time, c})
	}
	return configs
}

// checkDecision holds a decision against the sealed manifests and the policies
// chained before it, and notes what it allows.
func (v *verification) checkDecision(r *segmentResult, e ownEvent, configs []configSince, sealed map[string]bool, allowed map[string]map[string]bool) {
	bad := func(err error) {
		r.find(Finding{Kind: "decision_not_allowed", ID: e.id.String(), File: e.file, Line: e.line, Message: fmt.Sprintf("decision %s: %v", e.id, err)})
	}
	d, err := parseDecision(e.data)
	if err != nil {
		bad(err)
		return
	}
	for _, ds := range d.Segments {
		i := slices.IndexFunc(v.results, func(s *segmentResult) bool { return s.manifest != nil && s.manifest.FirstID == ds.FirstID })
		if i < 0 || !sealed[v.results[i].in.name] {
			bad(fmt.Errorf("segment %s is not sealed in the chain before it", ds.FirstID))
			continue
		}
		s := v.results[i]
		if err := ds.check(*s.manifest, s.manifest.digest(), configs, e.time); err != nil {
			bad(err)
			continue
		}
		if allowed[s.in.name] == nil {
			allowed[s.in.name] = map[string]bool{}
		}
		for _, c := range ds.Categories {
			allowed[s.in.name][c.Category] = true
		}
	}
}

// checkGaps holds a rewritten segment against its sealed manifest: every id of
// a gap is an event of a category that a decision let go, every other id is the
// event that was sealed there.
func (v *verification) checkGaps(r *segmentResult, sealed bool, allowed map[string]bool) {
	if r.manifest == nil || !sealed {
		g := r.gaps[0]
		r.find(Finding{Kind: "gap_unjustified", ID: g.first.String(), Line: g.line,
			Message: fmt.Sprintf("events %s to %s are gone, and no sealed manifest says what they were", g.first, g.last)})
		return
	}
	m := *r.manifest
	sealedMap, err := m.rawMap()
	first, errFirst := ParseID(m.FirstID)
	if err != nil || errFirst != nil || r.from != first || r.last.String() != m.LastID ||
		string(r.prev) != m.PreviousHash || string(r.hash) != m.LastHash || int64(len(sealedMap)) != int64(r.last-first)+1 {
		r.find(Finding{Kind: "manifest_mismatch", ID: m.FirstID, Message: "the ends of " + r.in.name + " are not those that were sealed"})
		return
	}
	name := func(id ID) string {
		if i := int(sealedMap[id-first]); i < len(m.Categories) {
			return m.Categories[i].Category
		}
		return ""
	}
	next, line := first, int64(1)
	for _, g := range append(slices.Clone(r.gaps), gapLine{gap: gap{first: r.last + 1}}) {
		for ; next < g.first && next <= r.last; next++ {
			if v.checkSurvivor(r, next, line, name(next)) {
				line++
			}
		}
		line = g.line + 1
		for ; next <= g.last && next <= r.last; next++ {
			if c := name(next); !allowed[c] {
				r.find(Finding{Kind: "gap_unjustified", ID: next.String(), Line: g.line,
					Message: fmt.Sprintf("event %s (category %s) is gone without a decision that lets it go", next, c)})
			}
		}
	}
	v.checkCells(r, m)
}

// checkSurvivor compares the category of the line that has an id with the
// sealed one. false: no line has it, and this is the next.
func (v *verification) checkSurvivor(r *segmentResult, id ID, line int64, category string) bool {
	got := ""
	if i := int(id - r.tally.first); i < len(r.tally.ids) && r.tally.ids[i] != noCategory {
		got = r.tally.order[r.tally.ids[i]]
	}
	if got != category {
		r.find(Finding{Kind: "survivor_mismatch", ID: id.String(), Line: line, Message: fmt.Sprintf("event %s is of category %q, sealed was %q", id, got, category)})
	}
	return got != ""
}

// checkCells compares the categories that are still there with their roots: a
// survivor that was rewritten, with all hashes around it made to fit, is here.
func (v *verification) checkCells(r *segmentResult, m Manifest) {
	got, _ := r.tally.manifest()
	for _, c := range m.Categories {
		i := slices.IndexFunc(got.Categories, func(g CategoryCell) bool { return g.Category == c.Category })
		if i >= 0 && got.Categories[i] != c {
			r.find(Finding{Kind: "root_mismatch", ID: m.FirstID, File: r.in.name + suffixManifest,
				Message: fmt.Sprintf("the %s events of %s are not the ones that were sealed", c.Category, r.in.name)})
		}
	}
}

// signed gives an own event's statement, and tells whether the ledger's key
// signed it; where the key is not there, that is taken on trust.
func (v *verification) signed(e ownEvent) (statement []byte, ok bool) {
	if v.verifier == nil {
		statement, _, _ = unsigned(e.data)
		return statement, true
	}
	return keyring{verifier: v.verifier}.verify(e.action, e.data)
}

// policy lists a chained configuration and what it shortened of those before it.
// A category that one of them leaves out was kept for ever under it.
func (v *verification) policy(c Config, e ownEvent, before []configSince) {
	p := PolicyChange{ID: "default", Retention: map[string]string{}}
	was := map[string]Policy{}
	if len(before) > 0 {
		p.ID, p.Timestamp = e.id.String(), e.time.text()
		was = before[len(before)-1].config.Categories
	}
	for _, name := range slices.Sorted(maps.Keys(c.Categories)) {
		age := c.Categories[name].Retention
		p.Retention[name] = FormatAge(age)
		known := slices.ContainsFunc(before, func(c configSince) bool { _, ok := c.config.Categories[name]; return ok })
		if known && shorter(age, was[name].Retention) {
			p.Shortened = append(p.Shortened, name)
		}
	}
	v.report.Policies = append(v.report.Policies, p)
}

func shorter(a, b time.Duration) bool { return a != 0 && (b == 0 || a < b) }

// checkFloor holds a policy against the auditor's floor.
func (v *verification) checkFloor(c Config) {
	for _, name := range slices.Sorted(maps.Keys(v.opts.Require)) {
		if p, ok := c.Categories[name]; ok && shorter(p.Retention, v.opts.Require[name]) {
			v.find(Finding{Kind: "policy_below_required", Message: fmt.Sprintf("the chained retention of %s was %s, required is %s",
				name, FormatAge(p.Retention), FormatAge(v.opts.Require[name]))})
		}
	}
}

func hashText(preimage []byte) string {
	sum := sha256.Sum256(preimage)
	return hex.EncodeToString(sum[:])
}
