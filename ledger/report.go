package ledger

import (
	"fmt"
	"slices"
	"strings"
)

// A Finding is something that should not be, and where.
type Finding struct {
	Kind    string `json:"kind"`
	ID      string `json:"id,omitempty"`
	File    string `json:"file,omitempty"`
	Line    int64  `json:"line,omitempty"`
	Message string `json:"message"`
}

// A MissingRange is a hole that the chain itself tells of: ids that the stream
// lacked. It is no finding.
type MissingRange struct {
	FirstID string `json:"first_id"`
	LastID  string `json:"last_id"`
}

// A PolicyChange is a chained configuration.
type PolicyChange struct {
	ID        string            `json:"id"`
	Timestamp string            `json:"timestamp"`
	Retention map[string]string `json:"retention"`
	Shortened []string          `json:"shortened,omitempty"`
}

// A ReportHead is the head that a verification reached.
type ReportHead struct {
	ID        string  `json:"id"`
	Hash      string  `json:"hash"`
	Timestamp *string `json:"timestamp"`
}

// A Report is a verification's answer. Status is "valid" when exactly what the
// chained policy allowed is gone and nothing else, else "invalid".
type Report struct {
	Status     string         `json:"status"`
	Message    string         `json:"message,omitempty"`
	Error      string         `json:"error,omitempty"` // the first finding's message
	Findings   []Finding      `json:"findings"`
	Omitted    int64          `json:"findings_omitted,omitempty"` // beyond the first 1,000
	Events     int64          `json:"events"`
	AgedOut    int64          `json:"aged_out_events"`
	Pending    int64          `json:"pending_events,omitempty"` // decided to age out and not rewritten yet: no finding
	Missing    []MissingRange `json:"missing"`
	Policies   []PolicyChange `json:"policies"`
	Segments   int            `json:"segments"`
	Head       ReportHead     `json:"head"`
	PublicKey  string         `json:"public_key,omitempty"` // that signatures were checked with: ledger.pub, to be compared with one noted elsewhere
	Checked    []string       `json:"checked"`
	NotChecked []string       `json:"not_checked"`
	DurationMS int64          `json:"duration_ms"`
}

const maxFindings = 1000

// OfChain is the report without what was found against the heads and floors
// that its caller asked for: what it says of the chain itself. false: that is
// not known, since findings were omitted.
func (r *Report) OfChain() (*Report, bool) {
	c := *r
	c.Findings = slices.DeleteFunc(slices.Clone(r.Findings), Finding.asked)
	c.Checked = slices.DeleteFunc(slices.Clone(r.Checked), func(s string) bool { return s == "heads" })
	c.NotChecked = slices.DeleteFunc(slices.Clone(r.NotChecked), func(s string) bool { return strings.HasPrefix(s, notCheckedHead) })
	switch {
	case len(c.Findings) > 0:
		c.Error = c.Findings[0].Message
	case r.Omitted > 0:
		return nil, false
	default:
		c.Status, c.Message, c.Error = "valid", "Chain integrity verified", ""
	}
	return &c, true
}

// asked tells whether a finding is against VerifyOptions: the kinds that only
// these give, and a head's difference that is no file's.
func (f Finding) asked() bool {
	switch f.Kind {
	case "head_missing", "policy_missing", "policy_below_required":
		return true
	}
	return f.Kind == "head_mismatch" && f.File == ""
}

// notCheckedHead begins what a report says of a head that aged out.
const notCheckedHead = "the head "

// notComparedStream stands in a report whose caller had no stream at hand.
const notComparedStream = "stream"

// Compared adds to a report that the stream's messages first to last were
// projected again; differs is the first id whose event is another, or 0.
func (r *Report) Compared(first, last, differs ID) {
	if first > last {
		return
	}
	r.NotChecked = slices.DeleteFunc(r.NotChecked, func(s string) bool { return s == notComparedStream })
	r.Checked = append(r.Checked, fmt.Sprintf("stream: %s to %s projected again", first, last))
	if differs == 0 {
		return
	}
	f := Finding{Kind: "stream_differs", ID: differs.String(), Message: fmt.Sprintf("event %s is not what the stream's message gives", differs)}
	r.Findings = append(r.Findings, f)
	if r.Status == "valid" {
		r.Status, r.Message, r.Error = "invalid", "", f.Message
	}
}
