package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"
)

// VerifyOptions say what a verification asks beyond the chain itself.
type VerifyOptions struct {
	Heads    []Head                   // id and hash that must be in the chain
	Require  map[string]time.Duration // floor of each category's retention; 0: forever
	Progress func(VerifyProgress)     // called now and then, by several goroutines
}

// VerifyProgress says how far a verification is.
type VerifyProgress struct {
	SegmentsDone  int64 `json:"segments_done"`
	SegmentsTotal int64 `json:"segments_total"`
	BytesDone     int64 `json:"bytes_done"`
	BytesTotal    int64 `json:"bytes_total"`
}

// A verification is one run over a folder or a running ledger.
type verification struct {
	dir      string
	opts     VerifyOptions
	verifier note.Verifier // nil: signatures are not checked
	public   string        // its text
	head     *Head         // that must be reached; nil: whichever there is
	inputs   []verifyInput
	unread   []string // files that stand beside what is read
	results  []*segmentResult
	report   *Report
	done     atomic.Int64
	segsDone atomic.Int64
	indexes  atomic.Int64 // that were compared with their lines
	free     chan *lineBatch
	total    int64
	heads    map[ID][]string
	seen     map[ID]string // hashes at the heads' ids
	mu       sync.Mutex    // of the report, while segments are verified
}

// Verify verifies the ledger up to its committed head while it runs, and what
// else is in its folder.
func (l *Ledger) Verify(ctx context.Context, opts VerifyOptions) (*Report, error) {
	l.whole.RLock()
	defer l.whole.RUnlock()
	view := l.view.Load()
	v := l.verification(view, opts)
	if err := l.addStrays(v); err != nil {
		return nil, err
	}
	report, err := v.run(ctx)
	if err == nil {
		l.dropWrong(v, view.segs)
	}
	return report, err
}

// verification is of what a view has. While it runs the active segment may grow
// and be sealed; the files of the others hold their lines and nothing more.
func (l *Ledger) verification(view *view, opts VerifyOptions) *verification {
	v := &verification{dir: l.dir, opts: opts, verifier: l.keys.verifier, public: l.keys.public, head: &view.head}
	for _, s := range view.all() {
		limit := int64(-1)
		if s == view.active {
			limit = s.size
		}
		v.inputs = append(v.inputs, verifyInput{name: s.name, limit: limit, size: s.size,
			open: func() (*os.File, bool, error) { return openSegment(l.dir, s.name, s.sealed.Load()) }})
	}
	return v
}

// VerifyDir verifies a folder that no process needs to have open. It writes
// nothing. Beside a running store files may be replaced that were not opened
// yet, and decisions be chained in ones that were not listed: what is found
// then is looked at again.
func VerifyDir(ctx context.Context, dir string, opts VerifyOptions) (*Report, error) {
	for again := 2; ; again-- {
		before, err := folderState(dir)
		if err != nil {
			return nil, err
		}
		report, err := verifyDir(ctx, dir, opts)
		if err != nil || report.Status == "valid" || again == 0 {
			return report, err
		}
		if now, err := folderState(dir); err != nil || maps.Equal(now, before) {
			return report, err
		}
	}
}

func verifyDir(ctx context.Context, dir string, opts VerifyOptions) (*Report, error) {
	v := &verification{dir: dir, opts: opts}
	sets, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	if public, err := readFile(filepath.Join(dir, pubFile), maxKey); err == nil {
		v.public = strings.TrimSpace(string(public))
		if v.verifier, err = note.NewVerifier(v.public); err != nil {
			return nil, fmt.Errorf("reading %s: %w", pubFile, err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) || len(sets) == 0 {
		return nil, fmt.Errorf("%s is no data folder of an event store: %w", dir, err)
	}
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		in := folderInput(dir, name, sets[name])
		v.inputs = append(v.inputs, in)
		if set := sets[name]; set.plain && set.sealed {
			read := name + suffixPlain
			if in.zip {
				read = name + suffixSealed
			}
			v.unread = append(v.unread, name+suffixPlain+" and "+name+suffixSealed+" are of one segment: only "+read+" is read")
		}
	}
	return v.run(ctx)
}

// run verifies the segments in parallel and then what holds them together.
func (v *verification) run(ctx context.Context) (*Report, error) {
	start := time.Now()
	v.report = &Report{Findings: []Finding{}, Missing: []MissingRange{}, Policies: []PolicyChange{}, NotChecked: append([]string{}, v.unread...)}
	v.heads, v.seen = map[ID][]string{}, map[ID]string{}
	for _, h := range v.opts.Heads {
		v.heads[h.ID] = append(v.heads[h.ID], h.Hash)
	}
	if v.head != nil && v.heads[v.head.ID] == nil {
		v.heads[v.head.ID] = []string{} // only to be seen
	}
	for _, in := range v.inputs {
		v.total += in.size
	}
	v.results = make([]*segmentResult, len(v.inputs))
	defer v.takeBatches()()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, in := range v.inputs {
		g.Go(func() error {
			r, err := v.segment(gctx, in)
			if err != nil {
				return fmt.Errorf("verifying segment %s: %w", in.name, err)
			}
			v.results[i] = r
			v.segsDone.Add(1)
			v.progress(0)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := v.tallySealed(ctx); err != nil {
		return nil, err
	}
	v.join()
	v.report.DurationMS = time.Since(start).Milliseconds()
	return v.report, nil
}

func (v *verification) progress(n int64) {
	done := v.done.Add(n)
	if v.opts.Progress != nil {
		v.opts.Progress(VerifyProgress{v.segsDone.Load(), int64(len(v.inputs)), min(done, v.total), v.total})
	}
}

// join checks what no segment can check alone, in chain order.
func (v *verification) join() {
	r := v.report
	prev, id, at := []byte(GenesisHash), ID(0), micros(0)
	for i, s := range v.results {
		if s.lines == 0 && len(s.findings) == 0 && (s.zip || i < len(v.results)-1) {
			s.find(Finding{Kind: "damaged_file", ID: (id + 1).String(), Line: 1, Message: s.file + " holds no line"})
		}
		if s.lines > 0 {
			if s.linked && string(s.prev) != string(prev) {
				s.find(Finding{Kind: "broken_link", ID: s.first.String(), Line: 1,
					Message: fmt.Sprintf("Chain broken at event %s: expected %s, got %s", s.first, prev, s.prev)})
			}
			if s.linked && s.from != id+1 {
				s.find(Finding{Kind: "ids_not_contiguous", ID: s.first.String(), Line: 1,
					Message: fmt.Sprintf("Chain broken at event %s: expected id %s, got %s", s.first, id+1, s.from)})
			}
			if s.linked && s.firstTime >= 0 && s.firstTime < at {
				s.find(Finding{Kind: "timestamp_falls", ID: s.first.String(), Line: 1,
					Message: fmt.Sprintf("event %s has an earlier timestamp than its predecessor", s.first)})
			}
			if s.hash != nil {
				prev = s.hash
			}
			id, at = max(id, s.last), max(at, s.lastTime)
		}
		r.Events += s.events
		r.AgedOut += s.aged
		r.Missing = append(r.Missing, s.missing...)
		maps.Copy(v.seen, s.seen)
	}
	v.checkOwn()
	if v.checkHeads() {
		r.Checked = append(r.Checked, "heads")
	}
	v.checkTail(id, string(prev))
	v.summarise(Head{ID: id, Hash: string(prev)}, at)
}

// checkHeads looks for the heads that were asked for; false: none could be
// compared. The last of a gap's ids has its hash in the gap.
func (v *verification) checkHeads() (compared bool) {
	for id, hashes := range v.heads {
		for _, h := range hashes {
			switch got, ok := v.seen[id]; {
			case id == 0 && h == GenesisHash:
			case !ok && v.agedOut(id):
				v.notChecked(fmt.Sprintf("%s%s:%s: it aged out", notCheckedHead, id, h))
				continue
			case !ok:
				v.find(Finding{Kind: "head_missing", ID: id.String(), Message: fmt.Sprintf("the head %s:%s is not in the chain: no such event", id, h)})
			case got != h:
				v.find(Finding{Kind: "head_mismatch", ID: id.String(), Message: fmt.Sprintf("Chain broken at event %s: expected %s, got %s", id, h, got)})
			}
			compared = true
		}
	}
	return compared
}

// agedOut tells whether an id is within a gap. Whether that is justified is
// checked elsewhere.
func (v *verification) agedOut(id ID) bool {
	return slices.ContainsFunc(v.results, func(r *segmentResult) bool {
		return slices.ContainsFunc(r.gaps, func(g gapLine) bool { return g.first <= id && id <= g.last })
	})
}

// checkTail holds the head that was reached against the committed one: the
// active segment's file may lack its end, or be another than the store writes.
func (v *verification) checkTail(id ID, hash string) {
	if v.head == nil || len(v.results) == 0 {
		return
	}
	last := v.results[len(v.results)-1]
	if seen := v.seen[v.head.ID]; id > v.head.ID && seen != "" { // the active segment went on, and is sealed by now
		id, hash = v.head.ID, seen
	}
	switch {
	case id < v.head.ID:
		last.find(Finding{Kind: "tail_missing", ID: (id + 1).String(), Line: last.lines + 1,
			Message: fmt.Sprintf("Chain broken at event %s: it is gone, committed was up to %s", id+1, v.head.ID)})
	case id == v.head.ID && hash != v.head.Hash && last.hash != nil: // else its last line is damaged
		last.find(Finding{Kind: "head_mismatch", ID: v.head.ID.String(), Line: last.lines,
			Message: fmt.Sprintf("Chain broken at event %s: expected %s, got %s", v.head.ID, v.head.Hash, hash)})
	}
}

func (v *verification) summarise(head Head, at micros) {
	r := v.report
	all := v.report.Findings // those of no segment
	for _, s := range slices.Backward(v.results) {
		all = slices.Concat(s.findings, s.odd, all)
		r.Omitted += s.omitted
	}
	if len(all) > maxFindings {
		r.Omitted += int64(len(all) - maxFindings)
		all = all[:maxFindings]
	}
	r.Findings = append([]Finding{}, all...)
	r.Segments = len(v.results)
	r.PublicKey = v.public
	r.Head = ReportHead{ID: head.ID.String(), Hash: head.Hash}
	if head.ID > 0 {
		text := at.text()
		r.Head.Timestamp = &text
	}
	r.Checked = append([]string{"hashes", "links", "ids", "timestamps", "segment names and order", "manifests", "category roots", "gaps", "policies"}, r.Checked...)
	if v.indexes.Load() > 0 {
		r.Checked = append(r.Checked, "indexes")
	}
	if v.verifier != nil {
		r.Checked = append(r.Checked, "signatures")
	} else {
		r.NotChecked = append(r.NotChecked, "signatures: the folder has no "+pubFile)
	}
	r.NotChecked = append(r.NotChecked, notComparedStream)
	r.Status, r.Message = "valid", "Chain integrity verified"
	if len(r.Findings) > 0 {
		r.Status, r.Message, r.Error = "invalid", "", r.Findings[0].Message
	}
}

func (v *verification) find(f Finding) { v.report.Findings = append(v.report.Findings, f) }
