package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"unicode/utf8"
)

// relayBuffer holds a control line; nats-server takes at most 4 KiB.
const relayBuffer = 16 << 10

// An edit writes a control line anew behind dst and tells how many bytes of
// payload follow it; -1: no payload.
type edit func(dst, line []byte) ([]byte, int)

// relay copies NATS's protocol from src to dst, with its lines edited, until one
// of them ends. It never waits for src with something in hand.
func relay(dst io.Writer, src io.Reader, change edit) error {
	w := bufio.NewWriterSize(dst, relayBuffer)
	r := bufio.NewReaderSize(flushing{src, w}, relayBuffer)
	var line []byte
	for {
		text, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			_, err = w.Write(text) // the server says that the line is too long
			return errors.Join(err, w.Flush())
		}
		if err != nil {
			return errors.Join(err, w.Flush())
		}
		var payload int
		if line, payload = change(line[:0], text); payload >= 0 {
			payload += len("\r\n")
		}
		if _, err = w.Write(line); err == nil && payload > 0 {
			err = carry(w, r, payload)
		}
		if err != nil {
			return err
		}
	}
}

// flushing flushes w before it waits for more.
type flushing struct {
	io.Reader
	w *bufio.Writer
}

func (f flushing) Read(b []byte) (int, error) {
	if err := f.w.Flush(); err != nil {
		return 0, err
	}
	return f.Reader.Read(b)
}

// carry copies n bytes; io.CopyN would allocate for each message.
func carry(w *bufio.Writer, r *bufio.Reader, n int) error {
	for n > 0 {
		if _, err := r.Peek(1); err != nil {
			return err
		}
		b, _ := r.Peek(min(n, r.Buffered()))
		if _, err := w.Write(b); err != nil {
			return err
		}
		n -= len(b)
		r.Discard(len(b))
	}
	return nil
}

// inboxes keeps the inboxes of one connection apart from all others: what the
// client calls `_INBOX.x` is `_INBOX.N.x` for the server, prefix and x, and so is
// every reply subject that he names, whatever it is.
type inboxes struct{ prefix []byte }

// maxTokens is more than any line has that is edited.
const maxTokens = 6

var (
	inboxStart = []byte("_INBOX.")
	refusal    = []byte("?\r\n") // the server says that it knows no such operation, and ends the connection
)

// fromClient edits what a client says. Whatever it does not understand wholly
// does not reach the server: a line that the two read differently could carry
// a reply subject past the prefix.
func (i inboxes) fromClient(dst, line []byte) ([]byte, int) {
	var tokens [maxTokens][]byte
	n := split(&tokens, line)
	args := tokens[1:max(1, min(n, maxTokens))]
	switch op := tokens[0]; {
	case named(op, "PUB") && (n == 3 || n == 4):
		return i.publish(append(dst, "PUB"...), args, 1)
	case named(op, "HPUB") && (n == 4 || n == 5):
		return i.publish(append(dst, "HPUB"...), args, 2)
	case named(op, "SUB") && (n == 3 || n == 4):
		dst = append(dst, "SUB "...)
		if x, ok := bytes.CutPrefix(args[0], inboxStart); ok {
			dst, args[0] = append(dst, i.prefix...), x
		}
		return end(append(dst, args[0]...), args[1:]), -1
	case named(op, "PING"), named(op, "PONG"),
		n > 1 && (named(op, "CONNECT") || named(op, "UNSUB")): // alone, the server takes the newline for their argument
		return append(dst, line...), -1 // the server ends these at the same newline
	}
	return append(dst, refusal...), -1
}

// publish edits subject [reply] and then so many sizes, the payload's last.
func (i inboxes) publish(dst []byte, args [][]byte, sizes int) ([]byte, int) {
	payload, ok := size(args[len(args)-1])
	if !ok || !utf8.Valid(args[0]) || bytes.IndexByte(args[0], 0) >= 0 { // the server would store such a subject, and not know it again
		return append(dst[:0], refusal...), -1
	}
	dst = append(append(dst, ' '), args[0]...)
	if args = args[1:]; len(args) > sizes {
		dst = append(append(append(dst, ' '), i.prefix...), bytes.TrimPrefix(args[0], inboxStart)...)
		args = args[1:]
	}
	return end(dst, args), payload
}

// fromServer edits what the server says: a message comes on the subject that
// the client subscribed.
func (i inboxes) fromServer(dst, line []byte) ([]byte, int) {
	if !bytes.HasPrefix(line, []byte("MSG ")) && !bytes.HasPrefix(line, []byte("HMSG ")) {
		return append(dst, line...), -1
	}
	var tokens [maxTokens][]byte
	n := split(&tokens, line)
	payload, ok := size(tokens[min(n, maxTokens)-1])
	if !ok {
		return append(dst, line...), -1
	}
	dst = append(append(dst, tokens[0]...), ' ')
	subject := tokens[1]
	if x, ok := bytes.CutPrefix(subject, i.prefix); ok {
		dst, subject = append(dst, inboxStart...), x
	}
	return end(append(dst, subject...), tokens[2:n]), payload
}

// end ends a line with the tokens that stay as they are.
func end(dst []byte, tokens [][]byte) []byte {
	for _, t := range tokens {
		dst = append(append(dst, ' '), t...)
	}
	return append(dst, "\r\n"...)
}

// split cuts a line into its tokens, those beyond maxTokens together only counted
// as one more.
func split(tokens *[maxTokens][]byte, line []byte) (n int) {
	line = bytes.TrimRight(line, "\r\n")
	for _, other := range []byte("\t\r") { // the server takes them for spaces
		for at := bytes.IndexByte(line, other); at >= 0; at = bytes.IndexByte(line, other) {
			line[at] = ' '
		}
	}
	for len(line) > 0 {
		token, rest, _ := bytes.Cut(line, []byte(" "))
		line = rest
		switch {
		case len(token) == 0:
		case n == maxTokens:
			return n + 1
		default:
			tokens[n], n = token, n+1
		}
	}
	return n
}

// named tells whether an operation has this name; the case does not matter.
func named(op []byte, name string) bool {
	return len(op) == len(name) && (string(op) == name || bytes.EqualFold(op, []byte(name)))
}

// size reads a number of bytes as the server does: digits only, at most nine.
func size(text []byte) (n int, ok bool) {
	if len(text) == 0 || len(text) > 9 {
		return 0, false
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
