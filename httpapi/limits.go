package httpapi

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"
)

// What clients may take at a time. Appends, followers and the rest are bounded apart, so that none can shut the others out;
// /health is not bounded.
const (
	maxAppends   = 1024      // requests
	maxOthers    = 512       // requests
	maxFollowers = 2048      // requests
	maxBodies    = 128 << 20 // bytes of bodies that have arrived and are not answered yet
	bodyGrace    = 10 * time.Second
	bodyRate     = 32 << 10 // bytes a second: a body that arrives slower on average, after bodyGrace, is given up
)

// bounded answers 429 to what is more than n requests at a time.
func (a *API) bounded(n int) func(http.Handler) http.Handler {
	slots := make(chan struct{}, n)
	return func(next http.Handler) http.Handler {
		return a.handle(func(w http.ResponseWriter, r *http.Request) error {
			select {
			case slots <- struct{}{}:
			default:
				return newProblem(http.StatusTooManyRequests, "too many requests at a time")
			}
			defer func() { <-slots }()
			next.ServeHTTP(w, r)
			return nil
		})
	}
}

// errBusy says that the bodies of other requests take all the room.
var errBusy = newProblem(http.StatusTooManyRequests, "too many large requests at a time")

// paced gives every request's body a pace to keep and a share of the room for bodies. The due time holds from the
// beginning on: before the server answers it reads what is left of a body, also of one that was refused unread.
func (a *API) paced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body == nil || r.Body == http.NoBody {
			next.ServeHTTP(w, r)
			return
		}
		control := w.(*response).control
		due := time.Now().Add(a.bodyGrace)
		control.SetReadDeadline(due)
		b := &pacedBody{ReadCloser: r.Body, control: control, room: a.bodies, due: due}
		defer func() { a.bodies.Release(b.read) }()
		r.Body = b
		next.ServeHTTP(w, r)
	})
}

// pacedBody is a body that must arrive at bodyRate, and takes room as it arrives: what is only announced takes none.
type pacedBody struct {
	io.ReadCloser
	control *http.ResponseController
	room    *semaphore.Weighted
	due     time.Time // of a body without a byte
	more    int64     // seconds that were added for what was read
	read    int64
}

// Read moves the due time as the body arrives, by whole seconds: a short one keeps the first. The server lifts it at the
// body's end.
func (b *pacedBody) Read(p []byte) (int, error) {
	if more := b.read / bodyRate; more > b.more {
		b.more = more
		b.control.SetReadDeadline(b.due.Add(time.Duration(more) * time.Second))
	}
	n, err := b.ReadCloser.Read(p)
	if n > 0 && !b.room.TryAcquire(int64(n)) {
		return 0, errBusy
	}
	b.read += int64(n)
	return n, err
}

// unread is a body that could not be read: too large, too slow, or the client's connection is at fault.
func unread(err error) error {
	var tooLarge *http.MaxBytesError
	var known *problem
	var slow net.Error
	switch {
	case errors.As(err, &tooLarge), errors.As(err, &known):
		return err
	case errors.As(err, &slow) && slow.Timeout():
		return newProblem(http.StatusRequestTimeout, "the body came too slowly")
	}
	return newProblem(http.StatusBadRequest, "the body could not be read: %v", err)
}

// secure sets what browsers should know of an answer: of every one that it is what its type says, of what they load for a
// page or as one what it may do. The page says itself what it may load.
func secure(h http.Header, method string) {
	h["X-Content-Type-Options"] = noSniff
	if method == http.MethodPost {
		return
	}
	h["Content-Security-Policy"] = nothing
	h["Referrer-Policy"] = noReferrer
	h["Cross-Origin-Resource-Policy"] = sameSite
}

var (
	noSniff    = []string{"nosniff"}
	nothing    = []string{"default-src 'none'; frame-ancestors 'none'"}
	noReferrer = []string{"no-referrer"}
	sameSite   = []string{"same-origin"}
	jsonType   = []string{"application/json"}
)

// ownNames refuses requests for another host's name, in a store that is for this host alone: a page on the web could
// have its own name resolve to 127.0.0.1, and read what a browser on this host may read (DNS rebinding).
func (a *API) ownNames(next http.Handler) http.Handler {
	return a.handle(func(w http.ResponseWriter, r *http.Request) error {
		if !thisHost(r.Host) {
			return newProblem(http.StatusMisdirectedRequest, "this store is for localhost; with tokens, or server.open: true, it answers to other names")
		}
		next.ServeHTTP(w, r)
		return nil
	})
}

// thisHost tells whether a Host is an address or a name that no resolver is asked for (RFC 6761, section 6.3).
func thisHost(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.Trim(host, "[]")
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name == "" || name == "localhost" || strings.HasSuffix(name, ".localhost") || net.ParseIP(name) != nil
}
