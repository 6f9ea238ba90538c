package ledger

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"home.lab/event-store/ledger/sample"
)

// oddBodies are bodies about whose form decoders disagree.
var oddBodies = []string{
	`{"action":"a","actor":"b"}`, ` { "action" : "a" , "actor" : "b" } `, `{"action":"a","actor":"b","data":{"b":1,"a":2}}`,
	`{"action":"a","actor":"b","data":{"a":1,"a":2}}`, `{"action":"a","actor":"b","data":{"b":1,"a":2,"b":3}}`, `{"action":"a","action":"b","actor":"b"}`,
	`{"action":"a","actor":"b","data":{"n":[0,-0,1.0,1.50,0.000001,0.0000001,123456789012345.5,12345678901234.5,1e3,-0.5,01,1.,.5,+1,9007199254740993,-7]}}`,
	`{"action":"a","actor":"b","data":{"n":1.50,"m":[true,false,null],"l":0.10,"k":100.0}}`, `{"action":"a","actor":"b","data":{"n":-0.0}}`,
	`{"action":"a","actor":"b","data":{"n":0.000001,"m":-12.25,"l":99999999999999999999999}}`,
	`{"action":"ä","actor":"日本","data":{"ä":1,"b":"\u00e4"}}`, `{"action":"a\n\"\\","actor":"\/","target":"` + "\x7f" + `"}`, `{"action":"a\n\"\\","actor":"b","target":"` + "\x7f" + `"}`,
	`{"action":"a","actor":"b","data":{"a b":1,"a":2,"a!":3,"":4}}`, `{"action":"a","actor":"b","data":{"x":"` + "\xff" + `"}}`,
	`{"action":"` + "\xf7" + `""a","actor":"b"}`, `{"action":"a","actor":"b","data":{"x":"` + "\xf7" + `""y"}}`, `{"action":"a","actor":"b","data":["` + "\xf7" + `"1]}`,
	`{"action":"a","actor":"b",}`, `{"action":"a","actor":"b"}x`, `{"action":"a","actor":"b","data":{"a":1,}}`, `{"action":"a","actor":"b","data":{"a":[1,]}}`,
	`{}`, `[]`, `{"action":"a"}`, `{"action":"","actor":"b"}`, `{"action":1,"actor":"event-store"}`, `{"category":"service","action":"a","actor":"b"}`,
	`{"category":"user","action":"a","actor":"b"}`, `{"category":"s\u0065rvice","action":"a","actor":"b"}`, `{"action":"a","actor":"b","id":"1","other":2}`,
	`{"action":"a","actor":"b","target":null,"error":null,"result":null}`, `{"action":"a","actor":"b","data":[]}`, `{"action":"a","actor":"b","data":{"d":{},"c":[],"b":{"z":{},"y":[{}]}}}`,
	`{"action":"a","actor":"b","data":` + deep(15) + `}`, `{"action":"a","actor":"b","data":` + deep(40) + `}`, `{"action":"a","actor":"b","data":` + deep(80) + `}`,
}

func deep(n int) string {
	s := "1"
	for range n {
		s = `{"a":` + s + `}`
	}
	return s
}

// sameDecoded tells whether the quick way and the long one say the same about
// a body, and whether the quick one took it.
func sameDecoded(t *testing.T, body []byte) (quick bool) {
	t.Helper()
	for _, category := range []string{"service", ""} {
		known := DefaultConfig().Categories
		got, gotErr := decode(body, category, known)
		want, wantErr := decodeAny(body, category, known)
		var a, b *InvalidError
		if errors.As(gotErr, &a) != errors.As(wantErr, &b) || !reflect.DeepEqual(a, b) {
			t.Fatalf("%q: %v, want %v", body, gotErr, wantErr)
		}
		if gotErr == nil && string(got.Canonical()) != string(want.Canonical()) {
			t.Fatalf("%q: %s, want %s", body, got.Canonical(), want.Canonical())
		}
	}
	_, quick = new(plain).event(body, "service", DefaultConfig().Categories)
	return quick
}

func FuzzDecode(f *testing.F) {
	for _, b := range oddBodies {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, body []byte) { sameDecoded(t, body) })
}

// TestQuickDecoding changes bytes of good events: both ways must say the same
// of each. The events as they are must take the quick way.
func TestQuickDecoding(t *testing.T) {
	t.Parallel()
	r, g := rand.New(rand.NewPCG(1, 2)), sample.New(7)
	bodies := [][]byte{}
	for _, b := range oddBodies {
		bodies = append(bodies, []byte(b))
	}
	for range 100 {
		_, b := g.Next()
		if _, quick := new(plain).event(b, "", DefaultConfig().Categories); !quick {
			t.Errorf("went the long way: %s", b)
		}
		bodies = append(bodies, b)
	}
	const bytes = `{}[]:,"\0159.eE-+ tfn` + "\n\x00\x1f\x7f\x80\xc3\xa4\xff"
	quick := 0
	for n := range 40_000 {
		body := append([]byte(nil), bodies[n%len(bodies)]...)
		for range r.IntN(3) {
			at := r.IntN(len(body))
			switch c := bytes[r.IntN(len(bytes))]; r.IntN(3) {
			case 0:
				body[at] = c
			case 1:
				body = append(body[:at], body[at+1:]...)
			case 2:
				body = append(body[:at], append([]byte{c}, body[at:]...)...)
			}
		}
		if sameDecoded(t, body) {
			quick++
		}
	}
	if quick < 5_000 {
		t.Errorf("only %d changed events went the quick way", quick)
	}
}
