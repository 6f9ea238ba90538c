package ledger

import (
	"io"
	"runtime"
	"slices"
	"sync"
)

// batchBytes is how many bytes of lines are checked at once, at least.
const batchBytes = 128 << 10

// A checkedLine is a line that was taken apart and held against its own hash.
type checkedLine struct {
	text  []byte // in a verification with its newline
	line  line
	err   error // it is no event
	sound bool
}

// A lineBatch is a run of whole lines on its way through a verification.
type lineBatch struct {
	text  []byte
	ends  []int
	lines []checkedLine
	odd   []oddMember   // of the file, up to these lines at least
	done  chan struct{} // capacity 1: the lines are checked
}

// eachChecked takes the lines of a segment, in order, each checked for itself
// before: reading (and inflating), checking on all cores, and linking go on at
// the same time. odd is asked by the one who reads.
func (v *verification) eachChecked(r *segmentResult, in io.Reader, odd func() []oddMember) error {
	cores := runtime.GOMAXPROCS(0)
	share := (cores + len(v.inputs) - 1) / min(cores, len(v.inputs)) // segments are verified in parallel, too
	free := make(chan *lineBatch, 2*share+1)
	for range cap(free) {
		free <- &lineBatch{done: make(chan struct{}, 1)}
	}
	order, todo := make(chan *lineBatch, cap(free)), make(chan *lineBatch, cap(free))
	var busy sync.WaitGroup
	var err error
	busy.Go(func() { err = readBatches(in, odd, free, order, todo) })
	for range share {
		busy.Go(func() { checkBatches(todo) })
	}
	told := 0
	for b := range order {
		<-b.done
		for i := range b.lines {
			v.line(r, &b.lines[i])
			for ; told < len(b.odd) && b.odd[told].line <= r.lines; told++ {
				r.foundOdd(b.odd[told])
			}
		}
		free <- b
	}
	busy.Wait()
	return err
}

// readBatches hands on what it reads, in order and to be checked.
func readBatches(in io.Reader, odd func() []oddMember, free <-chan *lineBatch, order, todo chan<- *lineBatch) error {
	defer close(todo)
	defer close(order)
	b := <-free
	pass := func() {
		b.odd = odd()
		order <- b
		todo <- b
	}
	err := readLines(in, func(raw []byte, _ int64) error {
		b.text = append(b.text, raw[:len(raw)+1]...)
		b.ends = append(b.ends, len(b.text))
		if len(b.text) >= batchBytes {
			pass()
			b = <-free
			b.text, b.ends = b.text[:0], b.ends[:0]
		}
		return nil
	})
	pass()
	return err
}

// A lineChecker takes lines apart and holds each against its own hash.
type lineChecker struct {
	parser  lineParser
	scratch []byte
}

// check takes a line with its newline.
func (k *lineChecker) check(c *checkedLine, text []byte) {
	c.text, c.sound = text, false
	if c.err = k.parser.parse(text[:len(text)-1], &c.line); c.err == nil && c.line.gap == nil {
		c.sound, k.scratch = c.line.sound(k.scratch)
	}
}

func checkBatches(todo <-chan *lineBatch) {
	var k lineChecker
	for b := range todo {
		b.lines = slices.Grow(b.lines[:0], len(b.ends))[:len(b.ends)]
		start := 0
		for i, end := range b.ends {
			k.check(&b.lines[i], b.text[start:end])
			start = end
		}
		b.done <- struct{}{}
	}
}
