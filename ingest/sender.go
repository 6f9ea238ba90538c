package ingest

import (
	"net"
	"runtime"
	"sync"
	"time"
)

// A sender writes to a connection in a goroutine of its own. What comes while a write is under
// way goes out with the next one: the server hands over an acknowledgement or
// two at a time, and each would be a packet.
type sender struct {
	to    net.Conn
	wait  time.Duration // that a write may take
	mu    sync.Mutex
	moved sync.Cond // something came, was written, or the end
	next  []byte    // to be written
	ended bool      // nothing comes any more
	err   error     // of the first write that failed
}

// senderBuffer is how much may wait.
const senderBuffer = 64 << 10

func newSender(to net.Conn, wait time.Duration) *sender {
	s := &sender{to: to, wait: wait}
	s.moved.L = &s.mu
	return s
}

// Write takes b over, when there is room.
func (s *sender) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.next) >= senderBuffer && s.err == nil {
		s.moved.Wait()
	}
	if s.err != nil {
		return 0, s.err
	}
	s.next = append(s.next, b...)
	s.moved.Broadcast()
	return len(b), nil
}

// end lets run write the rest and return.
func (s *sender) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.moved.Broadcast()
}

// run writes until end or an error.
func (s *sender) run() error {
	var now []byte
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.next) == 0 && !s.ended {
			s.moved.Wait()
		}
		if len(s.next) == 0 {
			return nil
		}
		s.mu.Unlock()
		runtime.Gosched() // who has more for this write comes first
		s.mu.Lock()
		now, s.next = s.next, now[:0]
		s.moved.Broadcast()
		s.mu.Unlock()
		s.to.SetWriteDeadline(time.Now().Add(s.wait))
		_, err := s.to.Write(now)
		s.mu.Lock()
		if err != nil {
			s.err = err
			s.moved.Broadcast()
			return err
		}
	}
}
