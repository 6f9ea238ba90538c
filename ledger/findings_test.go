package ledger

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEachForgeryIsTheFindingThatNamesIt has one forgery for each check that
// nothing else stands behind: exactly that finding comes, with its place, from
// the folder and from the running ledger. The first few are none.
func TestEachForgeryIsTheFindingThatNamesIt(t *testing.T) {
	t.Parallel()
	dir, zips := sealedFolder(t)
	keys, err := openKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"+suffixPlain))
	active, lines := strings.TrimSuffix(filepath.Base(files[0]), suffixPlain), linesOf(t, files[0])
	var config ID // in force
	seals := map[string]int{}
	for i, text := range slices.Concat(linesOf(t, zips[0])[:1], lines) {
		if l, _ := parseLine(text[:len(text)-1]); string(l.action) == `"`+actionConf+`"` {
			config = l.id
		} else if string(l.action) == `"`+actionSeal+`"` {
			seals[sealOf(l.data).segment] = i - 1
		}
	}
	second, newest := strings.TrimSuffix(filepath.Base(zips[1]), suffixSealed), len(zips)-1
	seal := seals[strings.TrimSuffix(filepath.Base(zips[newest]), suffixSealed)]
	first, last, n := lines[0][len(`{"id":"`):][:12], ID(0), len(lines)
	if l, err := parseLine(lines[n-1][:len(lines[n-1])-1]); err == nil {
		last = l.id
	}
	if _, ok := seals[second]; !ok || config != 1 || seal == 0 {
		t.Fatal(config, seals)
	}
	hole := func(data string) func(f *forgery) {
		return func(f *forgery) { f.own("events_missing", []byte(strings.ReplaceAll(data, "ID", last.String()))) }
	}
	at := func(id ID, line int) Finding {
		return Finding{ID: id.String(), File: active + suffixPlain, Line: int64(line)}
	}
	behind := at(last, n)
	for name, tc := range map[string]struct {
		kind  string
		place Finding
		forge func(f *forgery)
	}{
		"nothing":             {"", Finding{}, func(*forgery) {}},
		"a decision":          {"", Finding{}, func(f *forgery) { f.decide(func(*Manifest, *string, *int64) {}) }},
		"a configuration":     {"", Finding{}, func(f *forgery) { f.configure(config, "", "") }},
		"the same once more":  {"", Finding{}, func(f *forgery) { f.signed(actionConf, string(faultConfig().statement(0))) }},
		"a hole":              {"", Finding{}, hole(`{"count":1,"first_id":"ID","last_id":"ID"}`)},
		"the name's id":       {"", Finding{}, func(f *forgery) { f.rename(active + "_" + string(first)) }},
		"an event for a seal": {"", Finding{}, func(f *forgery) { f.lines = f.lines[:n-1] }},

		"a configuration of before":   {"configuration_not_allowed", behind, func(f *forgery) { f.configure(0, "", "") }},
		"a configuration of later":    {"configuration_not_allowed", behind, func(f *forgery) { f.configure(last, "", "") }},
		"another format":              {"malformed_configuration", behind, func(f *forgery) { f.configure(config, `"format":1`, `"format":9`) }},
		"a retention of never":        {"malformed_configuration", behind, func(f *forgery) { f.configure(config, `"retention":"1h"`, `"retention":"0s"`) }},
		"no category error":           {"malformed_configuration", behind, func(f *forgery) { f.configure(config, `"error"`, `"terror"`) }},
		"tiny segments":               {"malformed_configuration", behind, func(f *forgery) { f.configure(config, `"max_file_size":65536`, `"max_file_size":1`) }},
		"a member more":               {"malformed_configuration", behind, func(f *forgery) { f.configure(config, `"format"`, `"colour":1,"format"`) }},
		"it replaces no id":           {"malformed_configuration", behind, func(f *forgery) { f.configure(config, config.String(), "1") }},
		"a decision's form":           {"decision_not_allowed", behind, func(f *forgery) { f.signed(actionAged, `{"segments":[]}`) }},
		"a decision of a kept cell":   {"decision_not_allowed", behind, func(f *forgery) { f.decide(func(*Manifest, *string, *int64) {}); f.later(n-1, -200*day) }},
		"a decision of own events":    {"decision_not_allowed", behind, func(f *forgery) { f.decide(func(_ *Manifest, c *string, n *int64) { *c, *n = CategoryLedger, 1 }) }},
		"a decision of another count": {"decision_not_allowed", behind, func(f *forgery) { f.decide(func(_ *Manifest, _ *string, n *int64) { *n++ }) }},
		"a decision of no category":   {"decision_not_allowed", behind, func(f *forgery) { f.decide(func(_ *Manifest, c *string, _ *int64) { *c = "user" }) }},
		"a decision of other lines":   {"decision_not_allowed", behind, func(f *forgery) { f.decide(func(m *Manifest, _ *string, _ *int64) { m.Bytes++ }) }},
		"a decision of no segment":    {"decision_not_allowed", behind, func(f *forgery) { f.decide(func(m *Manifest, _ *string, _ *int64) { m.FirstID = last.String() }) }},
		"a decision of nothing": {"decision_not_allowed", behind, func(f *forgery) {
			m := f.manifest(0)
			f.signed(actionAged, fmt.Sprintf(`{"segments":[{"categories":[],"first_id":"%s","manifest_sha256":"%s"}]}`, m.FirstID, m.digest()))
		}},
		"a decision before the seal": {"decision_not_allowed", at(last-ID(n-1-seal), seal+1), func(f *forgery) {
			f.decide(func(m *Manifest, _ *string, n *int64) { *m = f.manifest(newest); *n = m.Categories[1].Count })
			f.later(n-1, -400*day)
			f.swap(seal, n-1)
			f.later(seal, 400*day)
		}},
		"a hole that ends elsewhere":   {"malformed_hole", behind, hole(`{"count":1,"first_id":"ID","last_id":"00000000ffff"}`)},
		"a hole that ends nowhere":     {"malformed_hole", behind, hole(`{"count":1,"first_id":"ID"}`)},
		"a hole that begins nowhere":   {"malformed_hole", behind, hole(`{"count":1,"last_id":"ID"}`)},
		"a hole that begins behind":    {"malformed_hole", behind, hole(`{"count":1,"first_id":"00000000ffff","last_id":"ID"}`)},
		"a hole with more behind it":   {"malformed_hole", behind, hole(`{"first_id":"ID","last_id":"ID",1}`)},
		"another chain":                {"broken_link", at(last-ID(n)+1, 1), func(f *forgery) { f.other = 0 }},
		"another chain from a line on": {"broken_link", at(last-ID(n)+4, 4), func(f *forgery) { f.other = 3 }},
		"an id left out":               {"ids_not_contiguous", at(last+1, n), func(f *forgery) { f.shift(-1+n, 1) }},
		"an id twice":                  {"ids_not_contiguous", at(last-1, n), func(f *forgery) { f.shift(-1+n, -1) }},
		"an id left out before it":     {"ids_not_contiguous", at(last-ID(n)+2, 1), func(f *forgery) { f.shift(0, 1) }},
		"an earlier time":              {"timestamp_falls", behind, func(f *forgery) { f.later(n-1, -time.Second-time.Microsecond) }},
		"a segment of a time before": {"timestamp_falls", at(last-ID(n)+1, 1), func(f *forgery) {
			l := f.event(0)
			l.time -= micros((time.Second + time.Microsecond) / time.Microsecond)
			l.timeText = []byte(l.time.text())
			f.put(0, l)
			f.rename("events_" + l.time.time().Format("20060102_150405"))
		}},
		"another name":        {"segment_name", at(last-ID(n)+1, 1), func(f *forgery) { f.rename("events_20990101_000000") }},
		"the name's wrong id": {"segment_name", at(last-ID(n)+1, 1), func(f *forgery) { f.rename(active + "_00000000ffff") }},
		"an event for a seal, before others": {"seal_missing", Finding{ID: ID(0).String(), File: second + suffixSealed}, func(f *forgery) {
			l := f.event(seals[second])
			l.category, l.actor = []byte("security"), []byte(`"u"`)
			f.put(seals[second], l)
		}},
		"a gap in the active segment": {"gap_unjustified", at(last-2, n-2), func(f *forgery) {
			l := f.event(-3)
			f.lines[n-3] = fmt.Appendf(nil, gapLayout, l.id, l.id, 1, l.prev, l.hash)
		}},
		"a gap in a segment that waits for its seal": {"gap_unjustified", Finding{File: filepath.Base(zips[newest])}, func(f *forgery) {
			l := f.event(seal)
			l.category, l.actor = []byte("security"), []byte(`"u"`)
			f.put(seal, l)
			packed := linesOf(t, zips[newest])
			gone, _ := parseLine(packed[4][:len(packed[4])-1])
			packed[4] = fmt.Appendf(nil, gapLayout, gone.id, gone.id, 1, gone.prev, gone.hash)
			pack(t, zips[newest], packed)
		}},
		"an ended segment goes on": {"torn_line", Finding{}, func(f *forgery) {
			unpack(t, f.zips[1])
			appendTo(t, strings.TrimSuffix(f.zips[1], ".gz"), string(f.lines[0][:40]))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			defer saved(t, dir)()
			f := &forgery{t, dir, keys, slices.Clone(lines), active, zips, -1}
			m := f.manifest(1)
			tc.forge(f)
			f.write()
			want := []Finding{}
			if tc.kind != "" {
				tc.place.Kind = tc.kind
				switch tc.kind {
				case "segment_name", "timestamp_falls":
					tc.place.File = f.active + suffixPlain
				case "gap_unjustified":
					if tc.place.Line == 0 {
						id, _ := ParseID(f.manifest(newest).FirstID)
						tc.place.ID, tc.place.Line = (id + 4).String(), 5
					}
				case "seal_missing":
					tc.place.ID = m.FirstID
				case "torn_line":
					id, _ := ParseID(m.LastID)
					tc.place.ID, tc.place.File, tc.place.Line = (id + 1).String(), second+suffixPlain, int64(len(linesOf(t, strings.TrimSuffix(zips[1], ".gz"))))+1
				}
				want = append(want, tc.place)
			}
			foundExactly(t, dir, want)
		})
	}
	mustValid(t, dir, VerifyOptions{})
}

// foundExactly verifies a folder, and the ledger that runs on it.
func foundExactly(t *testing.T, dir string, want []Finding) {
	t.Helper()
	offline, err := VerifyDir(context.Background(), dir, VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l := open(t, dir, faultConfig())
	running, err := l.Verify(context.Background(), VerifyOptions{})
	closeLedger(t, l)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, indexFolder)); err != nil { // of what was forged
		t.Fatal(err)
	}
	for how, r := range map[string]*Report{"offline": offline, "running": running} {
		got := slices.Clone(r.Findings)
		for i := range got {
			if got[i].Message == "" {
				t.Errorf("%s: no message: %+v", how, got[i])
			}
			got[i].Message = ""
		}
		if how == "running" && len(want) > 0 { // its head may differ as well
			got = slices.DeleteFunc(got, func(f Finding) bool { return f.Kind == "head_mismatch" })
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %+v\nwant %+v", how, r.Findings, want)
		}
		if valid := len(want) == 0; valid != (r.Status == "valid") || valid != (r.Error == "") {
			t.Errorf("%s: %s %q", how, r.Status, r.Error)
		}
	}
}
