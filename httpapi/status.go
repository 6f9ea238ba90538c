package httpapi

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"home.lab/event-store/ledger"
)

// timestamp is a time as events have it: UTC, six digits.
type timestamp time.Time

const timestampLayout = "2006-01-02T15:04:05.000000Z"

// timestampOf gives nil, JSON null, for the zero time.
func timestampOf(t time.Time) *timestamp {
	if t.IsZero() {
		return nil
	}
	return (*timestamp)(&t)
}

// MarshalText writes the time in UTC with six digits.
func (t timestamp) MarshalText() ([]byte, error) {
	return time.Time(t).UTC().AppendFormat(nil, timestampLayout), nil
}

type statusAnswer struct {
	TotalEvents     int64            `json:"total_events"` // still readable
	ChainValid      *bool            `json:"chain_valid"`  // null before the first verification
	FirstEventTime  *timestamp       `json:"first_event_time"`
	LastEventTime   *timestamp       `json:"last_event_time"`
	LastHash        string           `json:"last_hash"`
	FileCount       int              `json:"file_count"`
	TotalSizeBytes  int64            `json:"total_size_bytes"`
	LastID          *string          `json:"last_id"` // null when empty
	AgedOutEvents   int64            `json:"aged_out_events"`
	MissingIDs      int64            `json:"missing_ids"`
	VerifiedAt      *timestamp       `json:"verified_at"`      // when the last verification began
	VerifiedThrough *string          `json:"verified_through"` // the head that it saw
	VerifyError     string           `json:"verify_error,omitempty"`
	Categories      map[string]int64 `json:"categories"`
	Retention       retentionAnswer  `json:"retention"`
	Stream          StreamStatus     `json:"stream"`
	ClockSkewMS     int64            `json:"clock_skew_ms"`
	Version         string           `json:"version,omitempty"`
}

// retentionAnswer says what was decided to age out and may still be in the files.
type retentionAnswer struct {
	PendingCells  int    `json:"pending_cells"`
	PendingEvents int64  `json:"pending_events"`
	Waits         string `json:"waits,omitempty"` // why, where something keeps it
}

func (a *API) pending() (r retentionAnswer) {
	cells, waits := a.ledger.Pending()
	for _, c := range cells {
		r.PendingEvents += c.Count
	}
	r.PendingCells, r.Waits = len(cells), waits
	return r
}

// status is GET /status.
func (a *API) status(w http.ResponseWriter, r *http.Request) error {
	l, v, s := a.ledger.Status(), a.verifier.state(), a.streamStatus()
	grantOf(r).limit(&l)
	answer := statusAnswer{
		TotalEvents:    l.TotalEvents,
		ChainValid:     v.valid(),
		FirstEventTime: timestampOf(l.First),
		LastEventTime:  timestampOf(l.Last),
		LastHash:       l.Head.Hash,
		FileCount:      l.FileCount,
		TotalSizeBytes: l.TotalSizeBytes,
		LastID:         idText(l.Head.ID),
		AgedOutEvents:  l.AgedOutEvents,
		MissingIDs:     l.MissingIDs,
		VerifiedAt:     v.LastAt,
		VerifyError:    v.LastError,
		Categories:     l.Categories,
		Retention:      a.pending(),
		Stream:         s,
		ClockSkewMS:    s.ClockSkewMS,
		Version:        a.version,
	}
	if v.Last != nil && v.Last.Events+v.Last.AgedOut > 0 {
		answer.VerifiedThrough = &v.Last.Head.ID
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, "application/json", http.StatusOK, answer)
	return nil
}

// valid says whether the last verification found the chain sound; nil before the first.
func (v verifierState) valid() *bool {
	if v.Last == nil {
		return nil
	}
	ok := v.Last.Status == "valid"
	return &ok
}

func idText(id ledger.ID) *string {
	if id == 0 {
		return nil
	}
	s := id.String()
	return &s
}

// streamStatus is the stream's status with lists that are never null.
func (a *API) streamStatus() StreamStatus {
	s := a.stream.StreamStatus()
	if s.Drift == nil {
		s.Drift = []string{}
	}
	if s.Replicas == nil {
		s.Replicas = []any{}
	}
	if s.Warnings == nil {
		s.Warnings = []string{}
	}
	return s
}

type healthAnswer struct {
	Status     string   `json:"status"` // healthy or degraded
	Reasons    []string `json:"reasons,omitempty"`
	EventCount int64    `json:"event_count"`
	LastHash   string   `json:"last_hash"`
	Version    string   `json:"version,omitempty"`
}

// unhealthy is the problem that /health answers. Its status is a word, as in the other answers of /health; RFC 9457
// (section 3.1) lets clients that want a number there ignore it.
type unhealthy struct {
	Title  string `json:"title"`
	Status string `json:"status"`
	Detail string `json:"detail"`
}

// health is GET /health: 503 only where a restart or a repair would help.
func (a *API) health(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	stream := a.streamStatus()
	if reason := a.cannotCommit(stream); reason != "" {
		w.Header().Set("Retry-After", retryAfter)
		writeJSON(w, "application/problem+json", http.StatusServiceUnavailable,
			unhealthy{http.StatusText(http.StatusServiceUnavailable), "unhealthy", reason})
		return nil
	}
	l := a.ledger.Status()
	answer := healthAnswer{Status: "healthy", EventCount: l.TotalEvents, LastHash: l.Head.Hash, Version: a.version}
	if last := a.verifier.state().Last; last != nil && last.Status != "valid" {
		answer.Reasons = append(answer.Reasons, last.Error)
	}
	answer.Reasons = append(append(answer.Reasons, stream.Drift...), stream.Warnings...)
	if len(answer.Reasons) > 0 {
		answer.Status = "degraded"
	}
	writeJSON(w, "application/json", http.StatusOK, answer)
	return nil
}

// cannotCommit says why appends cannot be committed now, "" when they can.
func (a *API) cannotCommit(s StreamStatus) string {
	if p := a.writable(); p != nil {
		return problemOf(p).Detail
	}
	if stalled := a.ledger.Stalled(); stalled > a.commitTimeout {
		return fmt.Sprintf("the disk does not answer: a commit has been under way for %s", stalled.Round(time.Second))
	}
	if s.Connected {
		return ""
	}
	reason := "the stream is not connected"
	if s.Reason != "" {
		reason += ": " + s.Reason
	}
	return strings.Join(append([]string{reason}, s.Drift...), "; ")
}
