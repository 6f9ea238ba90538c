package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// Query calls yield for every committed event that the filter chooses, newest
// first unless Ascending, with its stored line (without newline, valid during
// the call only). An error of yield ends the query.
func (l *Ledger) Query(ctx context.Context, f Filter, yield func(line []byte) error) error {
	q := l.query(f)
	return q.run(func() error {
		return q.inOrder(ctx, q.picks(), func(r found) error {
			for _, raw := range r.lines {
				if err := yield(raw); err != nil {
					return err
				}
				id, _ := idOf(raw)
				if q.gave(id) {
					return errEnough
				}
			}
			return nil
		})
	})
}

// IDs is Query for who wants ids only: no line is read whose id the index tells.
func (l *Ledger) IDs(ctx context.Context, f Filter, yield func(ID) error) error {
	q := l.query(f)
	q.bare = true
	return q.run(func() error {
		return q.inOrder(ctx, q.picks(), func(r found) error {
			for _, raw := range r.lines {
				id, _ := idOf(raw)
				r.ids = append(r.ids, id)
			}
			for _, id := range r.ids {
				if err := yield(id); err != nil {
					return err
				}
				if q.gave(id) {
					return errEnough
				}
			}
			return nil
		})
	})
}

// errEnough ends a query whose limit is reached.
var errEnough = errors.New("enough")

// A query is one run of a filter over a view.
type query struct {
	l    *Ledger
	v    *view
	m    matcher
	up   bool
	bare bool               // ids are wanted, not lines
	left int                // events until the limit; below 0: no limit
	read map[*segment]error // segments whose index cannot be used, and why

	given int // since run began anew
	last  ID
}

func (l *Ledger) query(f Filter) *query {
	q := &query{l: l, v: l.view.Load(), m: f.matcher(), up: f.Ascending, left: f.Limit, read: map[*segment]error{}}
	if q.left == 0 {
		q.left = -1
	}
	q.m.before = min(q.m.before, q.v.head.ID+1)
	return q
}

// run runs the query, again from where it was when a segment's files were
// replaced meanwhile or its index turned out to be wrong.
func (q *query) run(do func() error) error {
	for {
		err := do()
		var at *sourceError
		switch {
		case errors.Is(err, errEnough):
			return nil
		case !errors.As(err, &at):
			return err
		case errors.Is(err, errMoved): // the segment's next source is of the files as they are
			q.l.doubt(at.src, err)
		case q.read[at.src.seg] == nil && errors.Is(err, errIndex):
			q.l.doubt(at.src, err)
			q.read[at.src.seg] = err
		case q.read[at.src.seg] == nil && errors.Is(err, ErrDamaged):
			q.read[at.src.seg] = err
		default:
			return err
		}
		q.goOn()
	}
}

// gave notes an event that was given, and tells whether it is the last.
func (q *query) gave(id ID) bool {
	q.last = id
	q.given++
	return q.given == q.left
}

// goOn makes the query go on behind what it gave.
func (q *query) goOn() {
	if q.given == 0 {
		return
	}
	if q.left > 0 {
		q.left -= q.given
	}
	if q.up {
		q.m.after = q.last
	} else {
		q.m.before = q.last
	}
	q.given = 0
}

// A sourceError is why a segment could not be read in the way that was tried.
type sourceError struct {
	src *source
	err error
}

func (e *sourceError) Error() string { return fmt.Sprintf("segment %s: %v", e.src.seg.name, e.err) }
func (e *sourceError) Unwrap() error { return e.err }

// segments are those of the view that can hold a match, in the query's order.
func (q *query) segments() iter.Seq[*segment] {
	return func(yield func(*segment) bool) {
		segs := q.v.all()
		if !q.up {
			segs = slices.Clone(segs)
			slices.Reverse(segs)
		}
		for _, s := range segs {
			if q.m.segment(s) && !yield(s) {
				return
			}
		}
	}
}

// A pick is what a query wants to read of a block: the lines of some ids, in
// ascending order, or all that match.
type pick struct {
	src *source
	m   *matcher // with what is gone from the segment
	at  int      // the block
	ids []ID     // nil: all

	loose bool  // the lines need not match
	err   error // instead of all else
}

// picks are the query's picks in its order. Where the index says which lines
// are wanted there are no more than the limit needs.
func (q *query) picks() iter.Seq[pick] {
	return func(yield func(pick) bool) {
		want := q.left
		if q.m.text != nil {
			want = -1
		}
		for s := range q.segments() {
			p, err := q.plan(s)
			switch {
			case q.passes(s, err):
				continue
			case err != nil:
				yield(pick{err: err})
				return
			}
			more := p.picks(q.up, &want, yield)
			p.src.release()
			if !more || want == 0 {
				return
			}
		}
	}
}
