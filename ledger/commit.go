package ledger

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	backlog    = 8                // events of a commit that tell of more to come
	apart      = time.Millisecond // of such commits, at least
	crowdStays = 20 * time.Millisecond
	tailBytes  = 256 << 10 // of committed lines that stay in memory
	spareBytes = 4 << 20   // of a buffer that is used again
)

// commitAll is the committer: it takes what is there, writes it, makes it
// durable, and only then tells anybody. While it does so the next batch is
// projected; so a lone event is committed at once and a burst in big batches.
func (l *Ledger) commitAll(ctx context.Context) {
	var spare []byte
	var before Commit
	var began time.Time
	var crowd crowd
	for {
		select {
		case <-l.work:
		case <-ctx.Done():
			return
		}
		if l.Err() != nil {
			continue
		}
		l.keepApart(began, before.Events)
		l.gather(crowd)
		l.mu.Lock()
		parts, news, v := l.proj.take(spare)
		l.room.Broadcast()
		l.mu.Unlock()
		spare = nil // the projection owns it now
		if len(parts) == 0 {
			continue
		}
		began = time.Now()
		l.committing.Store(began.UnixNano())
		done, err := l.commit(parts)
		l.committing.Store(0)
		if err != nil {
			l.log.Error("commit failed", "err", err)
			l.fail(err)
			continue
		}
		last := l.view.Load()
		done.Events, done.Took = v.events+v.aged-last.events-last.aged, time.Since(began)
		if before = done; done.Events >= backlog {
			l.burst.Store(began.UnixNano())
		}
		v.tail = l.tail.add(parts)
		if spare = parts[len(parts)-1].lines; cap(spare) > spareBytes && len(spare) < cap(spare)/16 {
			spare = nil // the burst that it grew in is over
		}
		l.tell(news)
		ended := len(v.segs) > len(last.segs) || v.aged > last.aged
		if woken := l.publish(v); woken >= backlog {
			crowd.size, crowd.seen = woken, time.Now()
		}
		if l.opts.Committed != nil {
			l.opts.Committed(done)
		}
		if ended {
			wake(l.sealing)
		}
	}
}

// tell counts committed events where somebody keeps count: not before, for what a
// failed commit loses is projected again.
func (l *Ledger) tell(all []news) {
	for _, n := range all {
		switch {
		case n.reason != "" && l.opts.Rejected != nil:
			l.opts.Rejected(n.reason)
		case n.reason == "" && l.opts.Testified != nil:
			l.opts.Testified(n.id, n.category)
		}
	}
}

// keepApart lets a millisecond pass between the beginnings of two commits when
// the first held many events, and up to nine more in a large burst for which
// nobody waits: an fsync costs more than the events that it would not wait for.
func (l *Ledger) keepApart(began time.Time, events int64) {
	if events < backlog {
		return
	}
	time.Sleep(time.Until(began.Add(apart)))
	for n := 0; n < 9 && events >= 8*backlog && l.Waiting() == 0; n++ {
		time.Sleep(apart)
	}
}

// A crowd is many callers who waited for one commit: they are soon back.
type crowd struct {
	size int
	seen time.Time
}

// gather lets a crowd come together again, for about a millisecond: else the
// first of it has a commit to himself, and the others wait for that one too.
func (l *Ledger) gather(c crowd) {
	if time.Since(c.seen) > crowdStays {
		return
	}
	for end := time.Now().Add(apart); l.Waiting() < c.size*4/5 && time.Now().Before(end); {
		time.Sleep(apart / 10) // an idle process sleeps for a millisecond at least
	}
}

// commit writes parts and makes them durable: the file's bytes, and its name
// when it is new. A failed fsync is never repeated: Recover cuts and reloads.
func (l *Ledger) commit(parts []part) (done Commit, err error) {
	for _, p := range parts {
		created := p.name != l.synced.name || l.synced.file == nil
		if created {
			if err := l.create(p.name); err != nil {
				return done, err
			}
		}
		if err := l.untouched(); err != nil {
			return done, err
		}
		if _, err := l.synced.file.Write(p.lines); err != nil {
			return done, fmt.Errorf("writing segment %s: %w", p.name, err)
		}
		if err := datasync(l.synced.file); err != nil {
			return done, fmt.Errorf("syncing segment %s: %w", p.name, err)
		}
		done.Fsyncs++
		if created {
			if err := syncDir(l.dir); err != nil {
				return done, fmt.Errorf("syncing the data folder: %w", err)
			}
			done.Fsyncs++
		}
		l.synced.size += int64(len(p.lines))
		done.Bytes += int64(len(p.lines))
	}
	return done, nil
}

// untouched fails when the active file is not what the last fsync left: somebody
// cut it, wrote into it, or put another in its place. An event behind that would
// be lost at the next start, which reads the file as it is; Recover does so now,
// and the stream gives again what is gone.
func (l *Ledger) untouched() error {
	s := &l.synced
	now, err := os.Stat(filepath.Join(l.dir, s.name+suffixPlain))
	if err != nil {
		return fmt.Errorf("looking for the active segment: %w", err)
	}
	before, err := s.file.Stat()
	if err != nil {
		return fmt.Errorf("looking for the active segment: %w", err)
	}
	was := s.size
	switch s.size = max(was, now.Size()); { // what somebody added is his, and is not cut
	case !os.SameFile(now, before):
		return fmt.Errorf("segment %s is another file now", s.name)
	case now.Size() != was:
		return fmt.Errorf("segment %s has %d bytes now, the last commit left %d", s.name, now.Size(), was)
	}
	return nil
}

// create starts a segment's file. Until its first fsync nothing of it counts:
// synced says that it may be cut to nothing.
func (l *Ledger) create(name string) error {
	f, err := os.OpenFile(filepath.Join(l.dir, name+suffixPlain), os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("creating segment %s: %w", name, err)
	}
	if l.synced.file != nil {
		l.synced.file.Close()
	}
	l.synced = synced{name: name, file: f}
	return nil
}

// cut removes what was written behind the last successful fsync.
func (l *Ledger) cut() error {
	if l.synced.name == "" {
		return nil
	}
	path := filepath.Join(l.dir, l.synced.name+suffixPlain)
	if l.synced.size == 0 {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
		return syncDir(l.dir)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if os.IsNotExist(err) {
		return nil // somebody removed it
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() > l.synced.size {
		if err := f.Truncate(l.synced.size); err != nil {
			return err
		}
	}
	return f.Sync()
}

// probe writes as much as a large commit needs, so that a full disk ends
// recovery here and not in the middle of the next event.
func (l *Ledger) probe() error {
	const name = "probe"
	err := writeFile(l.dir, name, make([]byte, 2<<20))
	if err := os.Remove(filepath.Join(l.dir, name)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return err
}

// publish makes a commit visible and tells all who wait. It says how many
// waited for just this commit.
func (l *Ledger) publish(v *view) (woken int) {
	l.state.Lock()
	defer l.state.Unlock()
	l.view.Store(v)
	woken = len(l.waits)
	l.release(v.head.ID)
	close(l.notice)
	l.notice = make(chan struct{})
	return woken - len(l.waits)
}

// A tail is the end of the active segment that stays in memory, for callers who
// ask for the event that they waited for: nothing when a commit was large.
type tail struct {
	parts []part // readers have some of it: it is only ever appended to, and cut at its beginning
	bytes int
}

// add takes a commit, and gives the parts for its view.
func (t *tail) add(parts []part) []part {
	last := parts[len(parts)-1]
	if len(last.lines) > tailBytes/4 {
		*t = tail{}
		return nil
	}
	if len(t.parts) > 0 && t.parts[0].name != last.name {
		*t = tail{}
	}
	last.lines = slices.Clone(last.lines) // the projection gets the buffer back
	t.parts = append(t.parts, last)
	for t.bytes += len(last.lines); t.bytes > tailBytes; t.parts = t.parts[1:] {
		t.bytes -= len(t.parts[0].lines)
	}
	return slices.Clip(t.parts)
}
