package ledger

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A seal that comes to a replica whose ended segment is damaged must not become
// another event there than on the others, nor may that segment get a seal.
func TestSealOfASegmentDamagedBeforeItCameForksNoReplica(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]func(r *replicas){
		"under the first": func(*replicas) {},
		"behind a configuration": func(r *replicas) { // so that the one in force is known, whatever is lost
			r.configure(2 * day)
		},
	} {
		t.Run(name, func(t *testing.T) { sealOfADamagedSegment(t, sealsToComeAfter(t, more)) })
	}
}

func sealOfADamagedSegment(t *testing.T, r *replicas) {
	lines := func(b []byte) [][]byte { return bytes.SplitAfter(b, []byte("\n")) }
	for name, tc := range map[string]struct {
		damage func(b []byte) []byte
		runs   bool // what is lost is legible enough
	}{
		"whole":                    {func(b []byte) []byte { return b }, true},
		"torn end":                 {func(b []byte) []byte { return b[:len(b)-1000] }, false},
		"last newline":             {func(b []byte) []byte { return append(b[:len(b)-1], 'x') }, false},
		"last line gone":           {func(b []byte) []byte { l := lines(b); return bytes.Join(l[:len(l)-2], nil) }, false},
		"first line gone":          {func(b []byte) []byte { return bytes.Join(lines(b)[1:], nil) }, false},
		"a line gone":              {func(b []byte) []byte { return bytes.Join(slices.Delete(lines(b), 9, 10), nil) }, false},
		"an actor":                 {func(b []byte) []byte { return bytes.Replace(b, []byte(`"u3"`), []byte(`"u4"`), 1) }, false},
		"an id that is far behind": {func(b []byte) []byte { return bytes.Replace(b, []byte(`{"id":"0000000`), []byte(`{"id":"0000001`), 1) }, false},
		"file gone":                {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			bothReplicas(t, func(t *testing.T, signs bool) {
				for _, n := range []int{1, -1} {
					dir := r.copied(t, signs)
					path := plainAgain(t, dir, n)
					r.stays(t, dir, func() {
						if tc.damage == nil {
							os.Remove(path)
						} else if err := os.WriteFile(path, tc.damage(allBytes(t, path)), 0o600); err != nil {
							t.Fatal(err)
						}
					}, !tc.runs)
				}
			})
		})
	}
}

// Without the configuration that is in force a replica would reject what the
// others take, and end segments elsewhere.
func TestLostConfigurationForksNoReplica(t *testing.T) {
	t.Parallel()
	r := sealsToCome(t)
	edit := func(t *testing.T, path string, f func(first []byte) []byte) {
		t.Helper()
		first, rest, _ := bytes.Cut(allBytes(t, path), []byte("\n"))
		if !bytes.Contains(first, []byte(`"ledger_configured"`)) {
			t.Fatalf("%s", first)
		}
		if err := os.WriteFile(path, append(f(first), rest...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, damage := range map[string]func(first []byte) []byte{
		"data": func(b []byte) []byte { return append(bytes.Replace(b, []byte(`"1d"`), []byte(`"2d"`), 1), '\n') },
		"time": func(b []byte) []byte { return append(bytes.Replace(b, []byte(`"2025`), []byte(`"2024`), 1), '\n') },
		"action": func(b []byte) []byte {
			return append(bytes.Replace(b, []byte(`configured"`), []byte(`configures"`), 1), '\n')
		},
		"no event": func(b []byte) []byte {
			return append(bytes.Replace(b, []byte(`"action"`), []byte(`"actiom"`), 1), '\n')
		},
		"its rest":   func(b []byte) []byte { return append(bytes.Repeat([]byte{'x'}, len(b)), '\n') },
		"no newline": func(b []byte) []byte { return append(b, ' ') },
		"another id": func(b []byte) []byte { // with a hash of its own
			ln, err := parseLine(bytes.Replace(b, []byte(`"id":"0000000`), []byte(`"id":"0000001`), 1))
			if err != nil {
				t.Fatal(err)
			}
			b, _, _ = ln.append(nil, nil)
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			bothReplicas(t, func(t *testing.T, signs bool) {
				dir := r.copied(t, signs)
				path := plainAgain(t, dir, 0)
				r.stays(t, dir, func() { edit(t, path, damage) }, true)
			})
		})
	}
	t.Run("sealed", func(t *testing.T) {
		bothReplicas(t, func(t *testing.T, signs bool) {
			dir := r.copied(t, signs)
			path := oldest(t, dir) + suffixSealed
			b := allBytes(t, path)
			clear(b[200:])
			r.stays(t, dir, func() { os.WriteFile(path, b, 0o600) }, true)
		})
	})
	t.Run("a manifest that does not tell of it", func(t *testing.T) {
		bothReplicas(t, func(t *testing.T, signs bool) {
			dir := r.copied(t, signs)
			r.stays(t, dir, func() { patch(t, oldest(t, dir)+suffixManifest, `"category":"ledger"`, `"category":"ledges"`) }, false)
		})
	})
}

// Where the segment that a configuration was in is gone, the next one says so.
func TestConfigurationThatReplacesALostOneForksNoReplica(t *testing.T) {
	t.Parallel()
	r := replicasOf(t, func(*replicas) {}, func(r *replicas) {
		r.logins(1)
		r.configure(2 * day)
		r.logins(1)
		r.settleSeals()
	})
	for name, damage := range map[string]func(path string){
		"file gone": func(path string) { os.Remove(path + suffixSealed) },
		"both gone": func(path string) { os.Remove(path + suffixSealed); os.Remove(path + suffixManifest) },
	} {
		t.Run(name, func(t *testing.T) {
			bothReplicas(t, func(t *testing.T, signs bool) {
				dir := r.copied(t, signs)
				r.stays(t, dir, func() { damage(oldest(t, dir)) }, true)
			})
		})
	}
}

// A replica without the private key reads again too what no seal vouches for.
func TestManifestEditedBeforeItsSealCameForksNoReplica(t *testing.T) {
	t.Parallel()
	r := sealsToCome(t)
	for name, tc := range map[string]struct {
		old, with string
		stops     bool
	}{
		"root":      {`"root":"`, `"root":"0`, false},
		"count":     {`"count":`, `"count":1`, false},
		"last hash": {`"last_hash":"`, `"last_hash":"0`, false},
		"first id":  {`"first_id":"0`, `"first_id":"1`, false},
	} {
		t.Run(name, func(t *testing.T) {
			bothReplicas(t, func(t *testing.T, signs bool) {
				dir := r.copied(t, signs)
				zips, _ := filepath.Glob(filepath.Join(dir, "*"+suffixSealed))
				path := strings.TrimSuffix(zips[1], suffixSealed) + suffixManifest
				r.stays(t, dir, func() { patch(t, path, tc.old, tc.with) }, tc.stops)
			})
		})
	}
}

// Without its active segment a store goes on from the last sealed one: from its
// lines, not from what a manifest that nothing vouches for says.
func TestTailIsNotTakenFromAnEditedManifest(t *testing.T) {
	t.Parallel()
	r := sealsToCome(t)
	for name, tc := range map[string]struct {
		damage func(t *testing.T, last string)
		stops  bool
	}{
		"active gone": {func(*testing.T, string) {}, false},
		"last hash":   {func(t *testing.T, last string) { patch(t, last+suffixManifest, `"last_hash":"`, `"last_hash":"0`) }, false},
		"last hash, gz": {func(t *testing.T, last string) {
			patch(t, last+suffixManifest, `"last_hash":"`, `"last_hash":"0`)
			if err := os.Truncate(last+suffixSealed, 2000); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			bothReplicas(t, func(t *testing.T, signs bool) {
				dir := r.copied(t, signs)
				active, _ := filepath.Glob(filepath.Join(dir, "*"+suffixPlain))
				zips, _ := filepath.Glob(filepath.Join(dir, "*"+suffixSealed))
				if len(active) != 1 {
					t.Fatal(active)
				}
				r.stays(t, dir, func() {
					os.Remove(active[0])
					tc.damage(t, strings.TrimSuffix(zips[len(zips)-1], suffixSealed))
				}, tc.stops)
			})
		})
	}
}

// A decision about a segment whose seal cannot be read any more must not become
// another event than on the others.
func TestDecisionAboutASegmentWhoseSealIsLostForksNoReplica(t *testing.T) {
	t.Parallel()
	r := decisionToCome(t, func(*replicas) {})
	for name, tc := range map[string]struct {
		old, with string
		stops     bool
	}{
		"data":      {`"last_hash":"`, `"last_hash":"0`, true},
		"signature": {`"signature":"`, `"signature":"x`, true},
		"no event":  {`"result"`, `"resulf"`, true},
		"hash":      {`","hash":"`, `","hash":"0`, true},
		"time":      {`"timestamp":"2`, `"timestamp":"1`, false}, // what is signed is whole
	} {
		t.Run(name, func(t *testing.T) {
			bothReplicas(t, func(t *testing.T, signs bool) {
				dir := r.copied(t, signs)
				r.stays(t, dir, func() {
					editActive(t, dir, actionSeal, func(line string) string { return strings.Replace(line, tc.old, tc.with, 1) })
				}, tc.stops)
			})
		})
	}
}

// A configuration that another one replaced is not in force any more, but a
// decision can hang on it.
func TestDecisionUnderPoliciesThatAreLostForksNoReplica(t *testing.T) {
	t.Parallel()
	r := decisionToCome(t, func(r *replicas) {
		r.configure(200 * day)
		r.configure(300 * day)
		r.mixed(1)
	})
	damage := func(dir string) {
		editActive(t, dir, `"retention":"200d"`, func(line string) string { return strings.Replace(line, `"200d"`, `"201d"`, 1) })
	}
	bothReplicas(t, func(t *testing.T, signs bool) {
		dir := r.copied(t, signs)
		r.stays(t, dir, func() { damage(dir) }, true)
		dir = r.copied(t, signs)
		damage(dir)
		l := open(t, dir, r.config)
		n := l.Projected()
		project(t, l, r.log[n]) // the configuration in force is known
		r.sameAs(t, l)
		closeLedger(t, l)

		dir = r.copied(t, signs)
		r.stays(t, dir, func() { // since when the last one is in force is lost
			editActive(t, dir, `"retention":"300d"`, func(line string) string { return strings.Replace(line, `"timestamp":"2`, `"timestamp":"1`, 1) })
		}, true)
	})
}

// Damage of publishers' events stops nothing, until the seal of their segment.
func TestDamagedEventsOfPublishersStopNoReplica(t *testing.T) {
	t.Parallel()
	r := sealsToCome(t)
	end := len(r.log)
	for strings.HasPrefix(r.log[end-1].Subject, subjectOwn) {
		end--
	}
	for name, tc := range map[string][2]string{
		"actor":    {`"actor":"u`, `"actor":"v`},
		"id":       {`"id":"0`, `"id":"1`},
		"far id":   {`"id":"0000000`, `"id":"0000001`},
		"no id":    {`"id":"0`, `"id":"x`},
		"no event": {`"data"`, `"dota"`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := r.copied(t, true)
			restore := undone(t, dir, func() {
				editActive(t, dir, `"login"`, func(line string) string { return strings.Replace(line, tc[0], tc[1], 1) })
			})
			l := open(t, dir, r.config)
			project(t, l, r.log[l.Projected():end]...)
			r.sameAs(t, l)
			closeLedger(t, l)
			restore()
			l = open(t, dir, r.config)
			project(t, l, r.log[l.Projected():]...)
			r.sameAs(t, l)
			closeLedger(t, l)
			mustValid(t, dir, VerifyOptions{})
		})
	}
}
