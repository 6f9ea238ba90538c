package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strings"
)

// serverLog hands the server's log lines to slog.
type serverLog struct {
	*slog.Logger
	e *embedded // is told when the server says that its store fails or its queue drops messages
}

// quoted is what clients choose, their names and users and subjects, as the server
// quotes it: nothing may be concluded from it.
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

func (l serverLog) Noticef(f string, v ...any) { l.line(slog.LevelDebug, f, v) }
func (l serverLog) Warnf(f string, v ...any)   { l.line(slog.LevelWarn, f, v) }
func (l serverLog) Errorf(f string, v ...any)  { l.line(slog.LevelError, f, v) }
func (l serverLog) Debugf(f string, v ...any)  { l.line(slog.LevelDebug, f, v) }
func (l serverLog) Tracef(f string, v ...any)  { l.line(slog.LevelDebug, f, v) }

// Fatalf is what a server of its own would exit with.
func (l serverLog) Fatalf(f string, v ...any) {
	why := strings.TrimSpace(fmt.Sprintf(f, v...))
	l.e.fatal.Store(&why)
	l.line(slog.LevelError, f, v)
}

func (l serverLog) line(level slog.Level, format string, v []any) {
	text := strings.TrimSpace(fmt.Sprintf(format, v...))
	said := quoted.ReplaceAllString(text, `""`)
	if client, _, refused := strings.Cut(said, " - authentication error"); refused {
		if host, _, err := net.SplitHostPort(strings.SplitN(client, " ", 2)[0]); err == nil { // else logins has told
			l.e.refused(host)
		}
		level = slog.LevelDebug // who keeps count says so in the log, too
	}
	if strings.Contains(said, " - cid:") && !l.e.clients.Allow() {
		level = slog.LevelDebug // one client may have thousands a second
	}
	if own := strings.HasPrefix(text, "JetStream ") || strings.HasPrefix(text, "Filestore ["); own &&
		(strings.HasPrefix(text, "JetStream failed to store a msg on stream ") || strings.HasSuffix(text, "no space left on device")) {
		l.e.broken.Store(true)
	}
	if strings.HasPrefix(text, "Dropping messages due to excessive stream ingest rate") {
		l.e.drops.add()
	}
	l.Log(context.Background(), level, "nats-server", "line", text)
}
