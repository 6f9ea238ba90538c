package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// The corpora that fuzzing found worth keeping are in testdata/fuzz. To go on:
//
//	go test ./ledger -run '^$' -fuzz '^FuzzProject$' -fuzztime 1m

// FuzzProject: whatever a publisher sends is a draft whose canonical form is
// stable, or an error that says why; and either way one sound event.
func FuzzProject(f *testing.F) {
	for _, s := range []string{
		`{"category":"user","action":"login","actor":"ada"}`,
		`{"action":"a","actor":"b","target":null,"data":{"n":[1,2.5e-3,-0,9007199254740993,{"x":"é\ud83d\ude00"}],"z":true},"result":"failure","error":"e"}`,
		`{"action":"a","actor":"b","data":{"a":1,"a":2}}`, `{"action":"a","actor":"b","data":{"n":1e400}}`,
		`{"action":"a","actor":"event-store"}`, `{"action":"\ud800","actor":"b"}`, "\xff", ``, `[]`, strings.Repeat(`{"data":`, 70),
	} {
		f.Add([]byte(s))
	}
	known := DefaultConfig().Categories
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := decode(body, "user", known)
		if err != nil {
			if err.Error() == "" || !utf8.ValidString(err.Error()) {
				t.Fatalf("refused with %q", err.Error())
			}
		} else if again, err := decode(d.Canonical(), "user", known); err != nil || !bytes.Equal(again.Canonical(), d.Canonical()) {
			t.Fatalf("%s is not stable: %v", d.Canonical(), err)
		}
		p := newProjection(keyring{}, "events", quiet)
		chainedOnce(t, p, Message{Seq: 1, Time: epoch, Subject: "events.user", Data: body})
	})
}

// chainedOnce projects a message, which must become one sound line of valid
// JSON that the standard library reads too.
func chainedOnce(t *testing.T, p *projection, m Message) {
	t.Helper()
	if err := p.apply(m, nil); err != nil {
		t.Fatal(err)
	}
	raw, ok := bytes.CutSuffix(p.parts[0].lines, []byte("\n"))
	if !ok || len(p.parts) != 1 || bytes.ContainsRune(raw, '\n') {
		t.Fatalf("not one line: %q", p.parts[0].lines)
	}
	l, err := parseLine(raw)
	if err != nil || !jsontext.Value(raw).IsValid() || !json.Valid(raw) {
		t.Fatalf("%v: %s", err, raw)
	}
	if sound, _ := l.sound(nil); !sound || l.id != ID(m.Seq) {
		t.Fatalf("not sound: %s", raw)
	}
}

// FuzzParseLine: no byte of a line escapes. What parses is written again from
// its values as it was.
func FuzzParseLine(f *testing.F) {
	zero := strings.Repeat("0", 64)
	f.Add([]byte(`{"id":"000000000001","timestamp":"2025-12-24T10:00:00.000000Z","category":"user","action":"a","actor":"b","target":null,"data":{},"result":"success","error":null,"previous_hash":"` + zero + `","hash":"` + zero + `"}`))
	f.Add([]byte(`{"aged_out":{"first_id":"000000000001","last_id":"000000000003","count":3},"previous_hash":"` + zero + `","hash":"` + zero + `"}`))
	f.Add([]byte(`{"id":"000000000001","timestamp":"x","category":"\"","action":[{"a":"]"}],`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		sameHashed(t, raw)
		l, err := parseLine(raw)
		if err != nil {
			return
		}
		if l.gap != nil {
			if want := fmt.Appendf(nil, gapLayout, l.gap.first, l.gap.last, l.gap.count, l.prev, l.hash); string(want) != string(raw)+"\n" {
				t.Fatalf("%q is written as %q", raw, want)
			}
			return
		}
		const hash = 64 + len(`"}`) // the hash is computed anew
		if out, _, _ := l.append(nil, nil); string(out[:len(out)-1-hash]) != string(raw[:len(raw)-hash]) {
			t.Fatalf("%q is written as %q", raw, out)
		}
	})
}

// FuzzParseManifest: what is taken for a manifest is canonical to the last byte.
func FuzzParseManifest(f *testing.F) {
	tl := newTally("events_20251224_100000", 1)
	l := line{id: 1, time: microsOf(epoch), category: []byte("user"), prev: []byte(GenesisHash)}
	tl.add(&l, []byte("line\n"), []byte(GenesisHash), new([32]byte))
	m, categories := tl.manifest()
	m.Map = packMap(categories)
	f.Add(m.canonical())
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"categories":null,"format":1e400}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseManifest(b)
		if err != nil {
			return
		}
		if !bytes.Equal(m.canonical(), bytes.TrimSuffix(b, []byte("\n"))) {
			t.Fatalf("%q is not %q", b, m.canonical())
		}
		m.rawMap()
		m.times()
		if len(m.digest()) != 64 {
			t.Fatal("no digest")
		}
	})
}

// FuzzOwnMessage: without the ledger's signature nothing on the store's own
// subjects has an effect, and it becomes one sound event.
func FuzzOwnMessage(f *testing.F) {
	for _, action := range []string{actionSeal, actionConf, actionAged, "events_missing", "", "a.b"} {
		f.Add(action, []byte(`{"signature":"— event-store AAAA"}`))
	}
	f.Add(actionConf, DefaultConfig().statement(0))
	f.Add(actionAged, []byte(`{"segments":[{"categories":[{"category":"user","count":1}],"first_id":"000000000001","manifest_sha256":""}]}`))
	keys, err := openKeys(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, action string, payload []byte) {
		p := newProjection(keys, "events", quiet)
		if _, effect, err := p.believe(action, payload, microsOf(epoch)); err == nil || effect != nil {
			t.Fatalf("believed %s %q", action, payload)
		}
		chainedOnce(t, p, Message{Seq: 1, Time: epoch, Subject: subjectOwn + action, Data: payload})
	})
}

// FuzzSegment: whatever stands in a segment, verification ends, and has nothing
// to find in it only when it is what the ledger wrote: nobody guesses a hash.
func FuzzSegment(f *testing.F) {
	f.Add([]byte("\n"))
	f.Add([]byte(`{"aged_out":{"first_id":"000000000001","last_id":"000000000001","count":1},"previous_hash":"` + GenesisHash + `","hash":"` + GenesisHash + `"}` + "\n"))
	dir := f.TempDir()
	l := open(f, dir, Config{})
	project(f, l, login(1), login(2), login(3))
	closeLedger(f, l)
	path, _ := filepath.Glob(filepath.Join(dir, "*"+suffixPlain))
	whole, err := os.ReadFile(path[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	name := strings.TrimSuffix(filepath.Base(path[0]), suffixPlain)
	f.Fuzz(func(t *testing.T, b []byte) {
		v, r := &verification{}, &segmentResult{in: verifyInput{name: name}, file: name + suffixPlain}
		end := bytes.LastIndexByte(b, '\n') + 1
		batch := &lineBatch{text: b[:end]}
		newLineChecker().checkAll(batch)
		v.take(r, batch)
		if first := string(r.prev) == GenesisHash && r.from == 1; first && len(r.findings) == 0 && len(r.gaps) == 0 && !bytes.HasPrefix(whole, b[:end]) {
			t.Fatalf("sound: %q", b)
		}
	})
}
