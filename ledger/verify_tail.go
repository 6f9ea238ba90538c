package ledger

import (
	"context"
	"fmt"
	"io"
	"os"
)

// allLines checks all lines of a plain segment's file, and what is behind
// them. Only the active one, the last, can have a tail that a power loss tore:
// that is looked for when something is wrong with its lines.
func (v *verification) allLines(ctx context.Context, r *segmentResult, f *os.File) error {
	end, size, err := lastLineEnd(f)
	if err == nil {
		err = v.readLines(ctx, r, f, end)
	}
	if err != nil {
		return err
	}
	if len(r.findings) > 0 && v.last(r) {
		sound, _, err := soundEnd(f)
		if err != nil {
			return err
		}
		if sound < end {
			if _, err := f.Seek(0, io.SeekStart); err != nil {
				return err
			}
			v.progress(-end)
			*r = segmentResult{in: r.in, file: r.file}
			if err := v.readLines(ctx, r, f, sound); err != nil {
				return err
			}
			end = sound
		}
	}
	return v.tail(r, f, end, size)
}

// last tells whether a segment is the last.
func (v *verification) last(r *segmentResult) bool {
	return r.in.name == v.inputs[len(v.inputs)-1].name
}

// tail looks at what stands behind the whole lines: a torn tail is what a
// crash or a copy of a running store leaves at the very end, and no event.
func (v *verification) tail(r *segmentResult, f *os.File, end, size int64) error {
	if end == size {
		return nil
	}
	if whole, err := wholeLine(f, end, size); err != nil {
		return err
	} else if whole { // a crash leaves the beginning of a line, never more than all of it
		r.find(Finding{Kind: "damaged_line", ID: r.expected(), Line: r.lines + 1,
			Message: fmt.Sprintf("%s, line %d: it does not end with a newline", r.file, r.lines+1)})
		return nil
	}
	if v.last(r) && size-end <= maxTorn {
		v.mu.Lock()
		v.report.NotChecked = append(v.report.NotChecked, fmt.Sprintf("%s: %d bytes of a torn tail", r.file, size-end))
		v.mu.Unlock()
		return nil
	}
	r.find(Finding{Kind: "torn_line", ID: r.expected(), Line: r.lines + 1, Message: fmt.Sprintf("%s ends within line %d", r.file, r.lines+1)})
	return nil
}

// wholeLine tells whether the last bytes of a file are an event and one byte more.
func wholeLine(f *os.File, from, to int64) (bool, error) {
	if to-from > maxLine {
		return false, nil
	}
	raw := make([]byte, to-from)
	if _, err := f.ReadAt(raw, from); err != nil {
		return false, err
	}
	l, err := parseLine(raw[:len(raw)-1])
	if err != nil || l.gap != nil {
		return false, nil
	}
	sound, _ := l.sound(nil)
	return sound, nil
}
