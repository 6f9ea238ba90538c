package ledger

import (
	"errors"
	"time"
)

// Sentinels for what callers ask about.
var (
	ErrMalformedID = errors.New("malformed id: want 12 lower-case hex digits")
	ErrNotFound    = errors.New("no event has this id")
	ErrAgedOut     = errors.New("the event has aged out")
	ErrLocked      = errors.New("another process uses this data folder")
	ErrDamaged     = errors.New("the stored event is damaged")
	ErrFollows     = errors.New("this replica has no private key: it follows what others decide")
	ErrPending     = errors.New("decided, and waiting to be rewritten")
	ErrStopped     = errors.New("the ledger has stopped accepting events")
	ErrUnavailable = errors.New("the stream is not available")
)

// An ID is an event's stream sequence. In text it is 12 lower-case hex digits.
type ID uint64

// MaxID is the largest id that has a text of 12 digits.
const MaxID = ID(1<<48 - 1)

// GenesisHash is the previous_hash of the first event.
const GenesisHash = "0000000000000000000000000000000000000000000000000000000000000000"

const hexDigits = "0123456789abcdef"

// String gives the id's 12 lower-case hex digits.
func (id ID) String() string { return string(id.append(make([]byte, 0, 12))) }

func (id ID) append(b []byte) []byte {
	for shift := 44; shift >= 0; shift -= 4 {
		b = append(b, hexDigits[id>>shift&15])
	}
	return b
}

// ParseID reads 12 lower-case hex digits; anything else is ErrMalformedID.
func ParseID(s string) (ID, error) { return parseID([]byte(s)) }

func parseID(b []byte) (ID, error) {
	if len(b) != 12 {
		return 0, ErrMalformedID
	}
	var id ID
	bad := byte(0)
	for _, c := range b {
		d := hexValues[c]
		bad |= d
		id = id<<4 | ID(d)
	}
	if bad > 15 {
		return 0, ErrMalformedID
	}
	return id, nil
}

// hexValues is what each lower-case hex digit stands for; 255: no such digit.
var hexValues = func() (values [256]byte) {
	for i := range values {
		values[i] = 255
	}
	for i, c := range []byte(hexDigits) {
		values[c] = byte(i)
	}
	return values
}()

// A Head is the last event of a chain: what a witness has to keep.
// The head of an empty ledger has id 0, GenesisHash and the zero time.
type Head struct {
	ID        ID
	Hash      string
	Timestamp time.Time
}

// A Message is one message of the stream, as the projection takes it.
// Seq is its stream sequence, Time the stream's message time, Subject the
// subject it was published on, Data its payload.
type Message struct {
	Seq     uint64
	Time    time.Time
	Subject string
	Data    []byte
}

const timestampLayout = "2006-01-02T15:04:05.000000Z"

var errTimestamp = errors.New("malformed timestamp")

// A micros is a UTC time in microseconds since 1970: all the precision that a
// timestamp has.
type micros int64

func microsOf(t time.Time) micros           { return micros(t.UnixMicro()) }
func (m micros) time() time.Time            { return time.UnixMicro(int64(m)).UTC() }
func (m micros) text() string               { return m.time().Format(timestampLayout) }
func (m micros) sub(o micros) time.Duration { return time.Duration(m-o) * time.Microsecond }

// A stamp writes timestamps; most have the second of the one before.
type stamp struct {
	second int64
	text   [len("2006-01-02T15:04:05")]byte
}

func (s *stamp) append(b []byte, m micros) []byte {
	second, rest := int64(m)/1e6, int64(m)%1e6
	if rest < 0 {
		second, rest = second-1, rest+1e6
	}
	if second != s.second || s.text[0] == 0 {
		s.second = second
		time.Unix(second, 0).UTC().AppendFormat(s.text[:0], "2006-01-02T15:04:05")
	}
	b = append(append(b, s.text[:]...), '.')
	for unit := int64(100_000); unit > 0; unit /= 10 {
		b = append(b, '0'+byte(rest/unit%10))
	}
	return append(b, 'Z')
}

// parseMicros reads a timestamp: exactly the form that is written, and a day
// that exists.
func parseMicros(b []byte) (micros, error) {
	if len(b) != len(timestampLayout) {
		return 0, errTimestamp
	}
	for i, c := range []byte("0000-00-00T00:00:00.000000Z") {
		if digit := b[i]-'0' <= 9; b[i] != c && !(c == '0' && digit) {
			return 0, errTimestamp
		}
	}
	number := func(from, to int) (n int) {
		for _, c := range b[from:to] {
			n = 10*n + int(c-'0')
		}
		return n
	}
	month, day, hour, minute, second := number(5, 7), number(8, 10), number(11, 13), number(14, 16), number(17, 19)
	t := time.Date(number(0, 4), time.Month(month), day, hour, minute, second, 0, time.UTC)
	if month < 1 || month > 12 || day < 1 || t.Day() != day || hour > 23 || minute > 59 || second > 59 {
		return 0, errTimestamp
	}
	return micros(t.Unix()*1e6 + int64(number(20, 26))), nil
}
