package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// readLines checks line after line. What a damaged compressed file hides is a
// finding; a file that cannot be read is an error. From a member on that is not
// as the store writes it, a compressed file is inflated in one go.
func (v *verification) readLines(ctx context.Context, r *segmentResult, f *os.File, limit int64) error {
	in := &countingReader{r: limited(f, r.zip, limit), tell: v.progress, ctx: ctx}
	if r.content != nil {
		in.r = io.TeeReader(in.r, r.content)
	}
	if !r.zip {
		_, err := v.eachChecked(r, wholeLines(in, func() []oddMember { return nil }))
		if errors.Is(err, errUnended) { // the line that is missing then is found by what follows it
			err = nil
		}
		return r.damaged(in, err)
	}
	at, err := v.eachChecked(r, wholeMembers(in))
	if at < 0 || err != nil {
		return r.damaged(in, err)
	}
	read, err := f.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = f.Seek(at, io.SeekStart)
	}
	if err != nil {
		return err
	}
	in.tell(at - read)
	members := newMemberReader(in, streamBuffer)
	members.next, members.line = at, r.lines
	_, err = v.eachChecked(r, wholeLines(members, func() []oddMember { return members.odd }))
	for _, m := range members.odd[r.told:] { // no line begins there
		r.foundOdd(m)
	}
	return r.damaged(in, err)
}

// limited is the reader of an input's file.
func limited(f *os.File, zip bool, limit int64) io.Reader {
	if zip || limit < 0 {
		return f
	}
	return io.LimitReader(f, limit)
}

func (r *segmentResult) damaged(in *countingReader, err error) error {
	if err == nil || in.err != nil {
		return in.err
	}
	r.hash = nil
	r.find(Finding{Kind: "damaged_file", ID: r.expected(), Line: r.lines + 1, Message: fmt.Sprintf("%s is damaged behind line %d: %v", r.file, r.lines, err)})
	return nil
}

// A countingReader tells the progress, ends with the context, and remembers
// whether it was the reading that failed.
type countingReader struct {
	r    io.Reader
	tell func(int64)
	ctx  context.Context
	err  error
}

func (c *countingReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		c.err = err
		return 0, err
	}
	n, err := c.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	c.tell(int64(n))
	return n, err
}
