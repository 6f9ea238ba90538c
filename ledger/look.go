package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// found is what a pick gave, in the query's order.
type found struct {
	lines [][]byte
	ids   []ID // instead of lines where they are enough
	buf   *buffer
	err   error
}

// look reads what a pick wants. The lines are valid until buf is given back.
func (q *query) look(p pick) found {
	if p.err != nil {
		return found{err: p.err}
	}
	defer p.src.release()
	r := found{buf: buffers.Get().(*buffer)}
	switch {
	case p.ids == nil:
		r.err = q.lookAtAll(p, &r)
	case q.bare && p.m.text == nil && !p.loose:
		r.ids = p.ids
	default:
		r.err = q.lookAt(p, &r)
	}
	if r.err != nil {
		r.err = &sourceError{p.src, r.err}
	}
	if !q.up {
		slices.Reverse(r.lines)
		slices.Reverse(r.ids)
	}
	return r
}

// lookAt takes the lines that the index named. They must be there, and be what
// was asked for.
func (q *query) lookAt(p pick, r *found) (err error) {
	lines, kept := q.kept(p)
	if !kept {
		if lines, err = p.src.linesOf(p.at, p.ids, r.buf); err != nil {
			return err
		}
	}
	for i, raw := range lines {
		ln, err := parseLine(raw)
		switch matches := err == nil && p.m.line(&ln); {
		case !matches && p.loose:
			continue
		case !matches:
			return fmt.Errorf("%w: event %s is not what it says", errIndex, p.ids[i])
		}
		switch {
		case p.m.text != nil && !r.contains(p.m, &ln):
		case q.bare || kept || r.buf.readable(raw):
			r.lines = append(r.lines, raw)
		case !p.loose: // another is wanted in its place
			return fmt.Errorf("%w: event %s", ErrDamaged, p.ids[i])
		}
		if !kept && p.src.x != nil && p.m.text == nil && len(p.ids) <= sparse {
			q.l.cache.keep(p.src, p.ids[i], slices.Clone(raw))
		}
	}
	return nil
}

// kept gives the lines of a pick when all of them are kept.
func (q *query) kept(p pick) (lines [][]byte, ok bool) {
	for _, id := range p.ids {
		raw, ok := q.l.cache.line(p.src, id)
		if !ok {
			return nil, false
		}
		lines = append(lines, raw)
	}
	return lines, true
}

// lookAtAll takes every line of a block that matches. Damaged lines are
// verification's to report.
func (q *query) lookAtAll(p pick, r *found) error {
	err := p.src.each(p.src.block(p.at), r.buf, func(raw []byte) bool {
		if p.m.text != nil && !r.mayContain(p.m, raw) {
			return true
		}
		ln, err := parseLine(raw)
		if err == nil && p.m.line(&ln) && (p.m.text == nil || r.contains(p.m, &ln)) {
			r.lines = append(r.lines, raw)
		}
		return true
	})
	if !r.buf.summed && !q.bare {
		r.lines = slices.DeleteFunc(r.lines, func(raw []byte) bool { return !r.buf.readable(raw) })
	}
	if q.passes(p.src.seg, err) {
		return nil
	}
	return err
}

// passes tells whether an error is damage, which does not stop reads of the
// rest, and logs it.
func (q *query) passes(s *segment, err error) bool {
	var tried *sourceError // which is tried in another way
	damaged := errors.Is(err, ErrDamaged) && !errors.As(err, &tried)
	if damaged {
		q.l.log.Error("damaged segment", "segment", s.name, "err", err)
	}
	return damaged
}

// mayContain rules out most lines at once: a line whose bytes do not hold the
// text has no value that does.
func (r *found) mayContain(m *matcher, raw []byte) bool {
	r.buf.lower = appendLower(r.buf.lower[:0], raw)
	return bytes.Contains(r.buf.lower, m.text)
}

func (r *found) contains(m *matcher, l *line) (ok bool) {
	ok, r.buf.lower = m.contains(l, r.buf.lower)
	return ok
}
