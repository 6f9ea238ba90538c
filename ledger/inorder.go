package ledger

import (
	"context"
	"iter"
	"runtime"
	"sync"
)

// inOrder looks at picks on several goroutines and hands what they found to
// take in the picks' order. At most a few blocks are in memory at once. Until
// the first is taken only one is read, since often it is all that is wanted.
func (q *query) inOrder(ctx context.Context, picks iter.Seq[pick], take func(found) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var jobs sync.WaitGroup
	defer jobs.Wait()
	defer cancel()
	width := runtime.GOMAXPROCS(0)
	turns := make(chan struct{}, width)
	ready := make(chan chan found, width)
	turns <- struct{}{}
	jobs.Go(func() {
		defer close(ready)
		for p := range picks {
			select {
			case <-turns:
			case <-ctx.Done():
				if p.src != nil {
					p.src.release()
				}
				return
			}
			c := make(chan found, 1)
			ready <- c
			jobs.Go(func() { c <- q.look(p) })
		}
	})
	for given := 1; ; {
		c, ok := <-ready
		if !ok {
			return ctx.Err()
		}
		r := <-c
		err := r.err
		if err == nil {
			err = take(r)
		}
		if r.buf != nil {
			buffers.Put(r.buf)
		}
		if err != nil {
			return err
		}
		turns <- struct{}{}
		if given < width {
			given++
			turns <- struct{}{}
		}
	}
}
