package main

import (
	"bytes"
	"encoding/json"
	"io"
	"math/bits"
	"math/rand/v2"
	"strings"
)

// mutants are inputs, numbered from 0: the first half is for HTTP, the other for
// NATS. An input is one body or one message, whatever it holds, with at least one
// mutation in it. It follows from the seed and its number alone.
type mutants struct {
	seed  uint64
	count int64
}

// A mutant is an input, and how it is sent.
type mutant struct {
	number int64
	nats   bool
	label  string // its Content-Type, or its subject
	async  bool   // with Prefer: respond-async
	body   []byte
}

// maxBulkBodies of a half are bulk bodies, but at most a sixteenth of it: for each
// that is accepted the NATS server makes files.
const maxBulkBodies = 20_000

const jsonType, linesType = "application/json", "application/x-ndjson"

func (m mutants) half() int64 { return m.count / 2 }

func (m mutants) isBulk(number int64) bool { return number%max(16, m.half()/maxBulkBodies) == 0 }

func (m mutants) nth(number int64) mutant {
	rng := rand.New(rand.NewPCG(m.seed, uint64(number)))
	x := mutant{number: number, nats: number >= m.half(), label: jsonType}
	category := pick(rng, categories)
	text := grow(rng, category)
	if rng.IntN(200) == 0 {
		text = pick(rng, scalars)
	}
	if m.isBulk(number) {
		text, x.label = bulk(rng, text)
	}
	x.body = mutate(rng, []byte(text))
	switch odd := rng.IntN(16) == 0; {
	case x.nats && odd:
		x.label = pick(rng, []string{"events.nosuch", "events.ledger", "events.error", "events." + category + ".more"})
	case x.nats:
		x.label = "events." + category
	case odd:
		x.label = pick(rng, []string{linesType, jsonType + "; charset=utf-8", "text/plain", ""})
	}
	x.async = !x.nats && rng.IntN(16) == 0
	return x
}

// bulk is a body of several events.
func bulk(rng *rand.Rand, item string) (body, contentType string) {
	items := []string{item}
	for range 1 + rng.IntN(5) {
		items = append(items, grow(rng, pick(rng, categories)))
	}
	if rng.IntN(2) == 0 {
		return "[" + strings.Join(items, ",") + "]", jsonType
	}
	return strings.Join(items, "\n") + "\n", linesType
}

// genes are what events are grown from: ~ stands for letters, ^ for the
// event's category. A good value leaves the event one, a bad one does not.
var (
	categories = []string{"system", "service", "security", "ai", "user", "config", "error"}
	genes      = []struct {
		name      string
		optional  bool
		good, bad []string
	}{
		{"category", false, []string{`"^"`}, []string{`"ledger"`, `"nosuch"`, `"^~"`, `7`, `""`, `null`}},
		{"action", false, []string{`"~"`, `"\t~\u0000"`, `"~ ~"`}, []string{`""`, `null`, `"` + strings.Repeat("y", 1100) + `"`}},
		{"actor", false, []string{`"~"`, `"Zoë \"~\" \\ \/ 猫"`}, []string{`"event-store"`, `""`, `["~"]`}},
		{"target", true, []string{`"~/~"`, `null`, `""`, `"\u00e9\ud83d\ude00~"`, `"` + strings.Repeat("long", 256) + `"`}, []string{`{}`, `1`, `"\ud800~"`}},
		{"data", true, []string{`{}`, `{"~":[1,2.5e-3,-0.0,{"~":"\u00e9"}],"z":true}`, `{ "b" : [ ] , "a" : { "" : null } }`,
			`{"big":123456789012345678901234567890,"small":1E-400}`, strings.Repeat(`{"a":`, 60) + `"~"` + strings.Repeat(`}`, 60)},
			[]string{`[]`, `"~"`, `{"a":1e999}`, `{"~":1,"a":2,"a":3}`, strings.Repeat(`{"a":`, 70) + `1` + strings.Repeat(`}`, 70)}},
		{"result", true, []string{`"failure"`, `"pending"`, `"~"`}, []string{`null`, `0`}},
		{"error", true, []string{`null`, `"~"`, `"~\n~"`}, []string{`false`, `{"~":1}`}},
		{"id", true, nil, []string{`"000000000001"`}},
		{"hash", true, nil, []string{`"~"`}},
		{"~", true, nil, []string{`"~"`}},
	}
	scalars = []string{`null`, `true`, `7`, `-1e308`, `"{}"`, ``, ` `}
	pieces  = []string{`"`, `\`, `{`, `}`, `[`, `]`, `,`, `:`, "\n", "\x00", "\xff", `\ud800`, `1e999`, `-0`, `null`, `9007199254740993`, "\u2028", "é", " ",
		`"id":"1",`, `"category":"ledger",`, `"actor":"event-store",`, `{"a":{"a":{"a":`, strings.Repeat("[", 70), strings.Repeat("y", 1100)}
)

func pick(rng *rand.Rand, from []string) string { return from[rng.IntN(len(from))] }

// grow makes an event: its fields in any order, one in 40 of them bad or left out.
func grow(rng *rand.Rand, category string) string {
	var parts []string
	for _, f := range genes {
		odd := rng.IntN(40) == 0
		switch {
		case odd && rng.IntN(4) > 0:
			parts = append(parts, `"`+f.name+`":`+pick(rng, f.bad))
		case odd, f.good == nil, f.optional && rng.IntN(2) == 0:
		default:
			parts = append(parts, `"`+f.name+`":`+pick(rng, f.good))
		}
	}
	rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	var b strings.Builder
	text := "{" + strings.Join(parts, ",") + "}"
	for at := strings.IndexAny(text, "~^"); at >= 0; at = strings.IndexAny(text, "~^") {
		b.WriteString(text[:at])
		if text[at] == '~' {
			b.WriteString(word(rng))
		} else {
			b.WriteString(category)
		}
		text = text[at+1:]
	}
	return b.String() + text
}

// mutate makes one mutation, or, each time half as often, one more, up to six.
func mutate(rng *rand.Rand, b []byte) []byte {
	for range 1 + bits.TrailingZeros32(rng.Uint32()|1<<5) {
		at := rng.IntN(len(b) + 1)
		to := min(len(b), at+1+rng.IntN(8))
		var put string
		switch rng.IntN(12) {
		case 0: // a bit flipped
			if at < len(b) {
				b[at] ^= 1 << rng.IntN(8)
			}
			continue
		case 1: // bytes cut out
		case 2: // bytes doubled
			put = string(b[at:to]) + string(b[at:to])
		case 3: // a byte replaced
			put, to = string([]byte{byte(rng.Uint32())}), min(len(b), at+1)
		case 4: // letters put in
			put, to = word(rng), at
		case 5: // a piece put in
			put, to = pick(rng, pieces), at
		case 6: // bytes that come from elsewhere in it
			from := rng.IntN(len(b) + 1)
			put = string(b[from:min(len(b), from+rng.IntN(24))])
		case 7: // its end cut off, or the end of another
			other := grow(rng, pick(rng, categories))
			put, to = other[rng.IntN(len(other)):], len(b)
			if rng.IntN(2) == 0 {
				put = ""
			}
		default: // a letter replaced, which often leaves an event
			for at < len(b) && !strings.Contains(letters, string(b[at:at+1])) {
				at++
			}
			put, to = word(rng)[:1], min(len(b), at+1)
		}
		b = append(append(b[:at:at], put...), b[to:]...)
	}
	return b
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"

func word(rng *rand.Rand) string {
	var b [6]byte
	bits := rng.Uint64()
	for i := range b {
		b[i] = letters[bits>>(6*i)&63]
	}
	return string(b[:1+bits>>36%6])
}

// events are the events of the body as another JSON package reads it, each with
// what the store adds to it.
func (x mutant) events() (list []map[string]any, err error) {
	if bytes.HasPrefix(bytes.TrimLeft(x.body, " \t\r\n"), []byte("[")) {
		err = json.Unmarshal(x.body, &list)
	} else {
		dec := json.NewDecoder(bytes.NewReader(x.body))
		for err == nil {
			var e map[string]any
			if err = dec.Decode(&e); err == nil {
				list = append(list, e)
			}
		}
		if err == io.EOF {
			err = nil
		}
	}
	for i, given := range list {
		e := map[string]any{"target": nil, "data": map[string]any{}, "result": "success", "error": nil}
		if x.nats {
			e["category"] = strings.Split(x.label, ".")[1]
		}
		for k, v := range given {
			e[k] = v
		}
		list[i] = e
	}
	return list, err
}
