package httpapi

import (
	"bufio"
	"net/http"
	"time"
)

// sender writes lines to a client. A query takes as long as the ledger is large, so the server's write deadline is lifted
// for it; a client that takes nothing for stallTimeout is cut off instead.
type sender struct {
	*bufio.Writer
	control *http.ResponseController
	flushed time.Time
}

func newSender(w http.ResponseWriter) *sender {
	control := http.NewResponseController(w)
	control.SetWriteDeadline(time.Time{})
	return &sender{bufio.NewWriterSize(deadlineWriter{w, control}, 64<<10), control, time.Now()}
}

func (s *sender) line(line []byte) error {
	if err := s.raw(line); err != nil {
		return err
	}
	return s.WriteByte('\n')
}

// raw writes a line without its newline, after what waited for too long was flushed.
func (s *sender) raw(line []byte) error {
	if now := time.Now(); now.Sub(s.flushed) > flushEvery {
		s.flushed = now
		if err := s.push(); err != nil {
			return err
		}
	}
	_, err := s.Write(line)
	return err
}

// push sends what waits here and in the server.
func (s *sender) push() error {
	if err := s.Flush(); err != nil {
		return err
	}
	s.control.SetWriteDeadline(time.Now().Add(stallTimeout))
	defer s.control.SetWriteDeadline(time.Time{})
	return s.control.Flush()
}

// end sends what is left; what the server still holds is sent when the handler returns, under a deadline too.
func (s *sender) end() error {
	if err := s.Flush(); err != nil {
		return err
	}
	s.control.SetWriteDeadline(time.Now().Add(stallTimeout))
	return nil
}

// deadlineWriter gives each write stallTimeout.
type deadlineWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (w deadlineWriter) Write(b []byte) (int, error) {
	w.control.SetWriteDeadline(time.Now().Add(stallTimeout))
	defer w.control.SetWriteDeadline(time.Time{})
	return w.ResponseWriter.Write(b)
}
