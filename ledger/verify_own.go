package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"
)

// checkOwn checks the store's own events: signatures, every manifest against
// its segment_sealed, and the policies that the chain tells of.
func (v *verification) checkOwn() {
	sealed := map[string]bool{} // by segment name
	configs := []Config{DefaultConfig()}
	v.policy(configs[0], ownEvent{}, nil)
	for _, r := range v.results {
		for _, e := range r.own {
			if e.action == "events_missing" {
				continue
			}
			statement, ok := v.signed(e)
			if !ok {
				r.find(Finding{Kind: "bad_signature", ID: e.id.String(), File: e.file, Line: e.line,
					Message: fmt.Sprintf("event %s is not signed with the ledger's key", e.id)})
				continue
			}
			switch e.action {
			case actionSeal:
				v.checkSeal(r, e, statement, sealed)
			case actionConf:
				c, err := parseConfig(e.data)
				if err != nil {
					r.find(Finding{Kind: "malformed_configuration", ID: e.id.String(), Line: e.line, Message: fmt.Sprintf("event %s: %v", e.id, err)})
					continue
				}
				v.policy(c, e, &configs[len(configs)-1])
				configs = append(configs, c)
			default:
				r.find(Finding{Kind: "unknown_own_event", ID: e.id.String(), Line: e.line, Message: fmt.Sprintf("event %s: the store has no action %s", e.id, e.action)})
			}
		}
	}
	v.unsealed(sealed)
	for _, c := range configs {
		v.checkFloor(c)
	}
}

func (v *verification) signed(e ownEvent) (statement []byte, ok bool) {
	k := keyring{verifier: v.verifier}
	if v.verifier == nil {
		return nil, true
	}
	return k.verify(e.action, e.data)
}

// checkSeal compares a chained seal with the manifest on disk.
func (v *verification) checkSeal(r *segmentResult, e ownEvent, statement []byte, sealed map[string]bool) {
	name := ""
	eachMember(e.data, func(n, value []byte) {
		if string(n) == "segment" {
			name, _ = text(value)
		}
	})
	i := slices.IndexFunc(v.results, func(s *segmentResult) bool { return s.in.name == name })
	if i < 0 {
		v.find(Finding{Kind: "segment_missing", ID: e.id.String(), File: e.file, Line: e.line, Message: "segment " + name + " was sealed and is gone"})
		return
	}
	sealed[name] = true
	s := v.results[i]
	if statement == nil || !s.zip {
		return
	}
	if s.manifest != nil {
		seg := segment{name: name, manifest: s.manifest, digest: s.manifest.digest()}
		if !bytes.Equal(seg.statement(), statement) {
			s.find(Finding{Kind: "seal_mismatch", ID: e.id.String(), File: name + suffixManifest,
				Message: fmt.Sprintf("the manifest of %s is not the one that event %s sealed", name, e.id)})
		}
	}
}

// unsealed reports sealed files whose seal the chain lacks although a later
// segment has one. The last ones may wait for theirs.
func (v *verification) unsealed(sealed map[string]bool) {
	later := false
	for _, r := range slices.Backward(v.results) {
		if later && r.zip && !sealed[r.in.name] {
			r.find(Finding{Kind: "seal_missing", Message: "segment " + r.in.name + " has no segment_sealed in the chain"})
		}
		if r.zip && !later && !sealed[r.in.name] {
			v.report.NotChecked = append(v.report.NotChecked, "the seal of "+r.in.name+": not in the chain yet")
		}
		later = later || sealed[r.in.name]
	}
}

// policy lists a chained configuration and what it shortened.
func (v *verification) policy(c Config, e ownEvent, before *Config) {
	p := PolicyChange{ID: e.id.String(), Retention: map[string]string{}}
	if before == nil {
		p.ID = "default"
	} else {
		p.Timestamp = e.time.text()
	}
	for _, name := range slices.Sorted(maps.Keys(c.Categories)) {
		age := c.Categories[name].Retention
		p.Retention[name] = FormatAge(age)
		if before != nil {
			if was, ok := before.Categories[name]; ok && shorter(age, was.Retention) {
				p.Shortened = append(p.Shortened, name)
			}
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
