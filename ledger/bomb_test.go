package ledger

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestACategoryMapThatInflatesToMoreThanItsIds takes no more memory than they do.
func TestACategoryMapThatInflatesToMoreThanItsIds(t *testing.T) { // alone: it measures what is allocated
	const bomb = 256 << 20
	dir, zips := sealedFolder(t)
	path := strings.TrimSuffix(zips[1], suffixSealed) + suffixManifest
	m, err := parseManifest(allBytes(t, path))
	if err != nil {
		t.Fatal(err)
	}
	packed, err := new(memberWriter).pack(make([]byte, bomb))
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(packed[len(packed)-4:], m.mapLen())
	m.Map = base64.StdEncoding.EncodeToString(packed)
	if err := os.WriteFile(path, append(m.canonical(), '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := allocated(func() {
		r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
		if err != nil || !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Kind == "manifest_damaged" && f.File == filepath.Base(path) }) {
			t.Errorf("%v %+v", err, r)
		}
		closeLedger(t, open(t, dir, faultConfig()))
	}); n > bomb/4 {
		t.Errorf("%d bytes allocated", n)
	}
}

// TestAManifestOfMoreIdsThanASegmentHolds is none.
func TestAManifestOfMoreIdsThanASegmentHolds(t *testing.T) {
	t.Parallel()
	_, zips := sealedFolder(t)
	m, err := parseManifest(allBytes(t, strings.TrimSuffix(zips[1], suffixSealed)+suffixManifest))
	if err != nil {
		t.Fatal(err)
	}
	packed, err := base64.StdEncoding.DecodeString(m.Map)
	if err != nil {
		t.Fatal(err)
	}
	for n, ok := range map[uint32]bool{maxIDs: true, maxIDs + 1: false} {
		first, _ := ParseID(m.FirstID)
		binary.LittleEndian.PutUint32(packed[len(packed)-4:], n)
		m.Map, m.LastID = base64.StdEncoding.EncodeToString(packed), (first + ID(n) - 1).String()
		if _, err := parseManifest(m.canonical()); (err == nil) != ok {
			t.Errorf("%d ids: %v", n, err)
		}
	}
}

// TestAnIndexOfImpossibleSizes has checksums that fit and is made again: nothing
// is read by it.
func TestAnIndexOfImpossibleSizes(t *testing.T) {
	t.Parallel()
	dir, zips := sealedFolder(t)
	path := indexPath(dir, strings.TrimSuffix(filepath.Base(zips[1]), suffixSealed))
	whole := allBytes(t, path)
	for name, forge := range map[string]func(m []block) []block{
		"more than memory":   func(m []block) []block { m[0].rawSize = 1 << 50; return m },
		"less than nothing":  func(m []block) []block { m[0].rawSize = -7; return m },
		"a member backwards": func(m []block) []block { n := m[0].n; m[0].n = -n; return append(m, block{first: 1 << 40, n: 2 * n}) },
	} {
		x, err := openIndex(path)
		if err != nil {
			t.Fatal(err)
		}
		head := int64(indexPreface) + int64(binary.LittleEndian.Uint32(whole[len(indexMagic):]))
		x.shift(-head)
		x.members = forge(x.members)
		forged := x.appendHead(nil)
		b := binary.LittleEndian.AppendUint32([]byte(indexMagic), uint32(len(forged)))
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(forged, castagnoli))
		if err := os.WriteFile(path, slices.Concat(b, forged, whole[head:]), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := VerifyDir(context.Background(), dir, VerifyOptions{}); err != nil || r.Status == "valid" && !strings.Contains(strings.Join(r.NotChecked, "\n"), filepath.Base(path)) {
			t.Errorf("%s: %v %+v", name, err, r)
		}
		l := open(t, dir, faultConfig())
		n := ID(0)
		for _, f := range []Filter{{}, {Actions: []string{"login"}, Limit: 5000}} {
			n = 0
			if err := l.Query(context.Background(), f, func(line []byte) error {
				if n++; !json.Valid(line) {
					t.Errorf("%s: %q", name, line)
				}
				return nil
			}); err != nil || n < l.Head().ID-20 {
				t.Errorf("%s: %d events: %v", name, n, err)
			}
		}
		closeLedger(t, l)
		os.WriteFile(path, whole, 0o600)
	}
	mustValid(t, dir, VerifyOptions{})
}

// TestNewlinesOfAFewBytesAreNotLookedAtOneByOne: millions of them, in a .gz that
// has no room for as many hashes, are one finding.
func TestNewlinesOfAFewBytesAreNotLookedAtOneByOne(t *testing.T) {
	t.Parallel()
	dir, zips := sealedFolder(t)
	whole, newlines := allBytes(t, zips[1]), bytes.Repeat([]byte("\n"), 3<<20)
	var other bytes.Buffer
	z := gzip.NewWriter(&other)
	z.Write(newlines)
	z.Close()
	own, err := new(memberWriter).pack(newlines)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"as somebody packs": other.Bytes(),
		"as the store does": slices.Concat(whole, own), // behind what is sound
	} {
		os.WriteFile(zips[1], content, 0o600)
		r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
		if err != nil || r.Omitted > 0 || !slices.ContainsFunc(r.Findings, func(f Finding) bool {
			return f.Kind == "damaged_file" && f.File == filepath.Base(zips[1]) && strings.Contains(f.Message, errMany.Error())
		}) {
			t.Errorf("%s: %v, %d findings more than %+v", name, err, r.Omitted, r.Findings[:min(3, len(r.Findings))])
		}
		l := open(t, dir, faultConfig())
		n := ID(0)
		if err := l.Query(context.Background(), Filter{}, func([]byte) error { n++; return nil }); err != nil || n < l.Head().ID-200 {
			t.Errorf("%s: %d events: %v", name, n, err)
		}
		closeLedger(t, l)
		os.WriteFile(zips[1], whole, 0o600)
	}
	mustValid(t, dir, VerifyOptions{})
}

// TestACategoryMapMayBeAllNewlines: the eleventh category's byte is one.
func TestACategoryMapMayBeAllNewlines(t *testing.T) {
	t.Parallel()
	ids := bytes.Repeat([]byte{'\n'}, 300_000)
	sum := sha256.Sum256(ids)
	m := Manifest{FirstID: ID(1).String(), LastID: ID(len(ids)).String(), Map: packMap(ids), MapSHA256: hex.EncodeToString(sum[:])}
	if raw, err := m.rawMap(); err != nil || !bytes.Equal(raw, ids) {
		t.Errorf("%d bytes: %v", len(raw), err)
	}
}
