package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestLinesOfAClient(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"PUB events.ai 5\r\n":                         "PUB events.ai 5\r\n",
		"PUB events.ai _INBOX.abc.1 5\r\n":            "PUB events.ai _INBOX.7.abc.1 5\r\n",
		"pub\tevents.ai  _INBOX.abc.1\t 5 \n":         "PUB events.ai _INBOX.7.abc.1 5\r\n",
		"PUB events.ai $JS.API.STREAM.DELETE.E 5\r\n": "PUB events.ai _INBOX.7.$JS.API.STREAM.DELETE.E 5\r\n",
		"PUB events.ai\r_INBOX.abc 5\r\n":             "PUB events.ai _INBOX.7.abc 5\r\n",
		"HPUB events.ai 12 17\r\n":                    "HPUB events.ai 12 17\r\n",
		"HPub events.ai r 12 17\r\n":                  "HPUB events.ai _INBOX.7.r 12 17\r\n",
		"PUB events.\u00fc 5\r\n":                     "PUB events.\u00fc 5\r\n",
		"SUB _INBOX.abc.* 1\r\n":                      "SUB _INBOX.7.abc.* 1\r\n",
		"SUB _INBOX.> q 1\r\n":                        "SUB _INBOX.7.> q 1\r\n",
		"SUB eventstore.head 1\r\n":                   "SUB eventstore.head 1\r\n",
		"SUB > 1\r\n":                                 "SUB > 1\r\n", // the server refuses it
		"UNSUB 1 5\r\n":                               "UNSUB 1 5\r\n",
		"PING\r\n":                                    "PING\r\n",
		"pong\n":                                      "pong\n",
		`CONNECT {"verbose": false, "name": "a b c d e f g"}` + "\r\n": `CONNECT {"verbose": false, "name": "a b c d e f g"}` + "\r\n",

		"\r\n":                     "?\r\n",
		"PUB\r\n":                  "?\r\n",
		"PUB 5\r\n":                "?\r\n",
		"PUB events.ai r x 5\r\n":  "?\r\n",
		"PUB events.ai -5\r\n":     "?\r\n",
		"PUB events.ai +5\r\n":     "?\r\n",
		"PUB events.ai 5x\r\n":     "?\r\n",
		"PUB a b 1234567890\r\n":   "?\r\n",
		"HPUB events.ai 5\r\n":     "?\r\n",
		"HPUB a b c 1 2\r\n":       "?\r\n",
		"SUB a b c d\r\n":          "?\r\n",
		"UNSUB \n":                 "?\r\n", // the server would read on
		"CONNECT\n":                "?\r\n",
		"SUB a\r\n":                "?\r\n",
		"MSG a 1 5\r\n":            "?\r\n",
		"HMSG a 1 5 5\r\n":         "?\r\n",
		"INFO {}\r\n":              "?\r\n",
		"+OK\r\n":                  "?\r\n",
		"PINGPONG\r\n":             "?\r\n",
		"a b c d e f g h\r\n":      "?\r\n",
		"PUB a b c d e f g 1\r\n":  "?\r\n",
		"SUB a b c d e f g h 1\n":  "?\r\n",
		"\xff\x00 events.ai 5\r\n": "?\r\n",

		"PUB events.\xff 5\r\n":        "?\r\n",
		"PUB events.\xc3 r 5\r\n":      "?\r\n",
		"PUB events.a\x00 5\r\n":       "?\r\n",
		"HPUB events.\xff 12 17\r\n":   "?\r\n",
		"HPUB events.\x00 r 12 17\r\n": "?\r\n",
	} {
		got, payload := inboxes{[]byte("_INBOX.7.")}.fromClient(nil, []byte(line))
		if string(got) != want {
			t.Errorf("%q became %q, want %q", line, got, want)
		}
		if published := strings.HasPrefix(want, "PUB ") || strings.HasPrefix(want, "HPUB "); published != (payload >= 0) {
			t.Errorf("%q has a payload of %d bytes", line, payload)
		}
	}
}

// A subject that is no text ends its connection, and nothing of it is stored.
func TestSubjectsThatAreNoTextAreRefused(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	publish := func(subject string) (answer string) {
		conn, err := net.Dial("tcp", f.ing.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"headers\":true}\r\nPUB %s %d\r\n%s\r\nPING\r\n", subject, len(event), event)
		r := bufio.NewReader(conn)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("%q: %v", subject, err)
			}
			if !strings.HasPrefix(line, "INFO ") {
				return line
			}
		}
	}
	for _, subject := range []string{"events.\xff", "events.sys\xc3", "events.\xed\xa0\x80", "events.a\x00b"} {
		if answer := publish(subject); !strings.HasPrefix(answer, "-ERR 'Unknown Protocol Operation'") {
			t.Errorf("%q: %q", subject, answer)
		}
	}
	if answer := publish("events.system.\u00fc"); answer != "PONG\r\n" {
		t.Errorf("a subject with an umlaut: %q", answer)
	}
	if line := f.get(1); !strings.Contains(line, `"action":"test"`) {
		t.Errorf("the first event is %s", line)
	}
	if n := f.status().Messages; n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
}

func TestLinesOfTheServer(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"MSG _INBOX.7.abc.1 1 30\r\n":                             "MSG _INBOX.abc.1 1 30\r\n",
		"MSG _INBOX.71.abc 1 30\r\n":                              "MSG _INBOX.71.abc 1 30\r\n",
		"MSG eventstore.head 2 120\r\n":                           "MSG eventstore.head 2 120\r\n",
		"HMSG _INBOX.7.abc.1 1 16 16\r\n":                         "HMSG _INBOX.abc.1 1 16 16\r\n",
		"MSG a 1 _INBOX.7.x 30\r\n":                               "MSG a 1 _INBOX.7.x 30\r\n",
		"-ERR 'Permissions Violation for Publish to \"a b\"'\r\n": "-ERR 'Permissions Violation for Publish to \"a b\"'\r\n",
		"INFO {\"max_payload\": 1048576}\r\n":                     "INFO {\"max_payload\": 1048576}\r\n",
		"PING\r\n":                                                "PING\r\n",
	} {
		got, payload := inboxes{[]byte("_INBOX.7.")}.fromServer(nil, []byte(line))
		if string(got) != want || strings.Contains(line, "MSG ") != (payload >= 0) {
			t.Errorf("%q became %q with %d bytes of payload, want %q", line, got, payload, want)
		}
	}
}

// Payloads pass as they are, also those that look like lines, however the bytes
// arrive.
func TestPayloadsPassUnread(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 3*relayBuffer)
	in := "PUB events.ai r 11\r\nPUB a r 1\r\n\r\n" + "PUB events.ai 0\r\n\r\n" + "PUB events.ai 49152\r\n" + long + "\r\nPING\r\n"
	want := strings.Replace(in, " r 11", " _INBOX.7.r 11", 1)
	for name, src := range map[string]io.Reader{
		"whole": strings.NewReader(in), "byte by byte": iotest.OneByteReader(strings.NewReader(in)), "by halves": iotest.HalfReader(strings.NewReader(in)),
	} {
		var got bytes.Buffer
		if err := relay(&got, src, inboxes{[]byte("_INBOX.7.")}.fromClient); !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
		if got.String() != want {
			t.Errorf("%s: %d bytes became %d", name, len(in), got.Len())
		}
	}
}

func TestALineWithoutEndIsTheServersToRefuse(t *testing.T) {
	t.Parallel()
	var got bytes.Buffer
	if err := relay(&got, strings.NewReader("PUB "+strings.Repeat("a", 100_000)), inboxes{[]byte("_INBOX.7.")}.fromClient); err != nil {
		t.Error(err)
	}
	if got.Len() != relayBuffer {
		t.Errorf("%d bytes went on", got.Len())
	}
}

// FuzzRelay reads what passes as the server does: line, payload, line. Every
// reply subject and every inbox has the prefix.
func FuzzRelay(f *testing.F) {
	f.Add([]byte("CONNECT {}\r\nPUB events.ai r 2\r\n{}\r\nPING\r\n"))
	f.Add([]byte("HPUB events.ai _INBOX.a 12 14\r\nNATS/1.0\r\n\r\n{}\r\nSUB _INBOX.> 1\r\n"))
	f.Add([]byte("pub events.ai\rx 0\n\r\nPUB a 999999999\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		relay(&out, bytes.NewReader(in), inboxes{[]byte("_INBOX.7.")}.fromClient)
		r := bufio.NewReader(&out)
		for {
			line, err := r.ReadString('\n')
			if err != nil || line == "?\r\n" { // the server ends the connection
				return
			}
			args := strings.Fields(line)
			sizes := map[string]int{"PUB": 1, "HPUB": 2}[args[0]]
			if sizes == 0 {
				if args[0] == "SUB" && strings.HasPrefix(args[1], "_INBOX.") && !strings.HasPrefix(args[1], "_INBOX.7.") {
					t.Fatalf("%q passed", line)
				}
				continue
			}
			if len(args) == 3+sizes && !strings.HasPrefix(args[2], "_INBOX.7.") || len(args) > 3+sizes {
				t.Fatalf("%q passed", line)
			}
			n, _ := size([]byte(args[len(args)-1]))
			if _, err := io.CopyN(io.Discard, r, int64(n)+2); err != nil {
				return
			}
		}
	})
}

func BenchmarkRelay(b *testing.B) {
	message := []byte("PUB events.system _INBOX.K3sYb2mQzT1vA9cXw8LdE0.a1b2c3 350\r\n" + strings.Repeat("x", 350) + "\r\n")
	in := bytes.Repeat(message, 1000)
	b.SetBytes(int64(len(message)))
	for n := b.N; n > 0; n -= 1000 {
		relay(io.Discard, bytes.NewReader(in[:min(n, 1000)*len(message)]), inboxes{[]byte("_INBOX.7.")}.fromClient)
	}
}
