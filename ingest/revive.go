package ingest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

const reviveEvery = time.Second

// InProcessConn connects to the server that runs now; nats.go calls it again
// for every reconnect.
func (e *embedded) InProcessConn() (net.Conn, error) {
	srv := e.srv.Load()
	if srv == nil {
		return nil, errors.New("the embedded NATS server is being started again")
	}
	return srv.InProcessConn()
}

// revive starts the embedded server again after its store could not write: it
// refuses everything from then on, also when there is room again. It waits
// until the folder takes bytes. The stream is as it was after a power loss,
// and is compared with the ledger before the next commit.
func (i *Ingest) revive(ctx context.Context) error {
	if i.emb == nil {
		return nil
	}
	tick := time.NewTicker(reviveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !i.emb.broken.Load() {
			continue
		}
		i.ready.Store(false)
		if err := probe(i.o.Dir); err != nil && !i.led.NoRoom(err) {
			continue // no room yet
		}
		i.o.Logger.Warn("the embedded NATS server could not write, starting it again")
		if err := i.emb.restart(i.o); err != nil {
			return fmt.Errorf("starting the embedded NATS server again: %w", err)
		}
	}
}

// probe finds out whether a folder takes bytes.
func probe(dir string) error {
	path := filepath.Join(dir, "probe")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 4<<20))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close(), os.Remove(path))
}

// restart ends the server and starts another one on the same folder, users and
// address.
func (e *embedded) restart(o Options) error {
	address := e.address()
	e.stop()
	e.srv.Store(nil)
	e.broken.Store(false)
	if err := e.start(o); err != nil {
		return err
	}
	if address == "" {
		return nil
	}
	return e.openListener(address)
}

// address is where publishers connect, or "".
func (e *embedded) address() string {
	if g := e.gate.Load(); g != nil {
		return g.listener.Addr().String()
	}
	if srv := e.srv.Load(); srv != nil && srv.Addr() != nil {
		return srv.Addr().String()
	}
	return ""
}
