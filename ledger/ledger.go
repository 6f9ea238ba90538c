package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
)

// maxPending is how many bytes of lines may wait for the committer before
// Project blocks.
const maxPending = 16 << 20

// Options say where a ledger is and what it should be like.
type Options struct {
	Dir           string       // the data folder; made when absent, 0700
	Config        Config       // wanted; chained by a ledger_configured event when it differs
	SubjectPrefix string       // of publishers' subjects; default "events"
	Logger        *slog.Logger // default slog.Default()

	Committed func(Commit)        // told after each commit, by the committer; nil: nobody
	Rejected  func(reason string) // told of each event_rejected that is chained; nil: nobody
	Testified func(ID, string)    // told of each event of the store's own in a publishers' category, and that; nil: nobody
}

// A Commit is what the committer made durable at once.
type Commit struct {
	Events int64
	Bytes  int64
	Fsyncs int           // of files and of the folder
	Took   time.Duration // writing and fsyncs
}

// A Ledger is the chain in a folder. One goroutine projects messages onto its
// tail (Project), one commits what was projected, one seals what ended; readers
// take the view of the last commit and wait for none of them.
type Ledger struct {
	dir  string
	opts Options
	keys keyring
	lock *flock.Flock
	log  *slog.Logger

	mu      sync.Mutex  // guards proj
	proj    *projection // the state after the last message that was projected
	room    *sync.Cond  // on mu: the committer took the pending parts
	work    chan struct{}
	sealing chan struct{}
	again   atomic.Bool // the sealer will be woken in a while
	reserve reserve

	view   atomic.Pointer[view] // the state after the last commit
	state  sync.Mutex           // guards what follows
	notice chan struct{}        // closed at the next commit
	waits  []wait               // for ids that are not committed
	failed chan struct{}        // closed when a write or fsync failed
	err    error

	burst   atomic.Int64 // when a commit held many events last, Unix nanoseconds
	drafter drafter      // owned by Project's caller

	committing atomic.Int64 // when the commit under way began, Unix nanoseconds; 0: none is

	loaded  string // the folder's stamp before it was loaded last; owned by Open, then by Recover's caller
	offered *ID    // on mu: the configuration in force when the wanted one was first offered

	swept    atomic.Pointer[sweep] // the sealer's last round
	sweeps   atomic.Int64          // rounds that were begun
	rewrites atomic.Int64          // files out of which something aged since the start
	whole    sync.RWMutex          // read-held by a verification: what it reads is as decided in its view
	cache    cache

	synced synced // owned by the committer, and by load and Recover without one
	tail   tail   // likewise
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// synced is how far the active segment is known to be durable.
type synced struct {
	name string
	size int64
	file *os.File
}

// Open opens the ledger of a folder, finishing what a crash left half done.
// It fails with ErrLocked when another process has the folder.
func Open(ctx context.Context, opts Options) (*Ledger, error) {
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.SubjectPrefix == "" {
		opts.SubjectPrefix = "events"
	}
	if opts.Config.Categories == nil {
		opts.Config = DefaultConfig()
	}
	if err := opts.Config.Validate(); err != nil {
		return nil, err
	}
	if err := makeDir(opts.Dir); err != nil {
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	if err := checkFolder(opts.Dir, opts.Logger); err != nil {
		return nil, err
	}
	l := &Ledger{dir: opts.Dir, opts: opts, log: opts.Logger,
		reserve: newReserve(opts.Dir), lock: flock.New(filepath.Join(opts.Dir, "LOCK"), flock.SetPermissions(0o600))}
	if ok, err := l.lock.TryLock(); err != nil {
		return nil, fmt.Errorf("locking the data folder: %w", err)
	} else if !ok {
		return nil, fmt.Errorf("%s: %w", opts.Dir, ErrLocked)
	}
	l.room = sync.NewCond(&l.mu)
	l.cache = newCache()
	l.work, l.sealing = make(chan struct{}, 1), make(chan struct{}, 1)
	l.recallReserve()
	var err error
	if l.keys, err = openKeys(opts.Dir); err == nil {
		err = l.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, l.lock.Unlock())
	}
	return l, nil
}

// start loads the folder and starts the committer and the sealer.
func (l *Ledger) start(ctx context.Context) error {
	loaded, err := stampOf(l.dir)
	if err != nil {
		return fmt.Errorf("opening the ledger: %w", err)
	}
	proj, err := l.load(ctx)
	if err != nil {
		return fmt.Errorf("opening the ledger: %w", err)
	}
	l.loaded = loaded
	l.tail = tail{}
	l.mu.Lock()
	l.proj = proj
	v := proj.view()
	l.mu.Unlock()
	l.state.Lock()
	l.view.Store(v)
	l.swept.Store(&sweep{})
	if l.notice != nil {
		close(l.notice) // of before a recovery: who waits for the next commit looks again
	}
	l.notice, l.failed, l.err = make(chan struct{}), make(chan struct{}), proj.unsound
	if proj.unsound != nil {
		close(l.failed)
	}
	l.state.Unlock()
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l.cancel = cancel
	l.done.Go(func() { l.commitAll(run) })
	l.done.Go(func() { l.sealAll(run) })
	wake(l.sealing)
	l.log.Info("ledger opened", "dir", l.dir, "last_id", v.head.ID.String(), "last_hash", v.head.Hash,
		"segments", len(v.segs), "events", v.events)
	return nil
}

// Close commits what was projected, ends the ledger's goroutines and releases
// the folder.
func (l *Ledger) Close() error {
	err := l.flush()
	l.stop()
	return errors.Join(err, l.lock.Unlock())
}

// flush waits until all that was projected is committed.
func (l *Ledger) flush() error {
	id := l.Projected()
	if id == 0 || l.Err() != nil {
		return nil
	}
	return l.Wait(context.Background(), id)
}

func (l *Ledger) stop() {
	l.cancel()
	l.done.Wait()
	if l.synced.file != nil {
		l.synced.file.Close()
		l.synced.file = nil
	}
	l.fail(ErrStopped)
}

// Recover starts again after a failed write or fsync: what is not known to be
// durable is cut off on a new descriptor, and the folder is loaded as at start.
// It fails, and is to be called again later, while the folder takes no bytes,
// and while files are damaged that the next event depends on: these are not
// loaded again before somebody has changed them. The caller projects again from
// Projected()+1.
func (l *Ledger) Recover(ctx context.Context) error {
	if l.stillUnsound() {
		return fmt.Errorf("recovering the ledger: %w", l.Err())
	}
	l.loaded = ""
	l.stop()
	if err := l.cut(); err != nil {
		return fmt.Errorf("recovering the ledger: %w", err)
	}
	err := l.probe()
	if l.NoRoom(err) {
		err = l.probe()
	}
	if err != nil {
		return fmt.Errorf("recovering the ledger: %w", err)
	}
	if err := l.start(ctx); err != nil {
		return err
	}
	return l.Err()
}

// stillUnsound tells whether the folder is as it was when it was found damaged.
func (l *Ledger) stillUnsound() bool {
	l.mu.Lock()
	unsound := l.proj.unsound
	l.mu.Unlock()
	if unsound == nil || !errors.Is(l.Err(), unsound) { // a failed write may be mended otherwise
		return false
	}
	now, err := stampOf(l.dir)
	return err == nil && now == l.loaded
}

// Projected is the last id that was chained; it may not be committed yet.
func (l *Ledger) Projected() ID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.proj.id
}

// Head is the committed head.
func (l *Ledger) Head() Head { return l.view.Load().head }

// PublicKey is the ledger's verifier key in the text form of
// golang.org/x/mod/sumdb/note.
func (l *Ledger) PublicKey() string { return l.keys.public }

// KeepKey writes the key into the folder, where it was made at this start. It
// is to be called before anything outside of the folder relies on the key;
// Project does it too.
func (l *Ledger) KeepKey() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keys.keep(l.dir)
}

// NewKey tells whether the key was made at this start and is not kept yet.
func (l *Ledger) NewKey() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keys.unkept != ""
}

// Decode validates a publisher's event that names its category, under the
// configuration in force. Errors are *InvalidError.
func (l *Ledger) Decode(body []byte) (Draft, error) {
	return decode(body, "", l.view.Load().config.Categories)
}
