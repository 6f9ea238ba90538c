package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxManifest is how many bytes of a manifest are read: a category map of the
// longest member, in base64, and as much as the categories may take.
const maxManifest = (maxMember+memberHeader+memberEnd)/3*4 + 1<<20

// noCategory stands in a category map for an id that has no event.
const noCategory = 255

// anyText lets a manifest be made of lines that somebody forged, whose texts
// need not be UTF-8. It only has to be another one than what was sealed.
var anyText = jsontext.AllowInvalidUTF8(true)

// A Manifest says what was sealed. It is kept for ever; its digest is chained.
type Manifest struct {
	Segment      string         `json:"segment"`
	FirstID      string         `json:"first_id"`
	LastID       string         `json:"last_id"`
	PreviousHash string         `json:"previous_hash"`
	LastHash     string         `json:"last_hash"`
	SHA256       string         `json:"sha256"` // of the uncompressed content
	Bytes        int64          `json:"bytes"`
	Categories   []CategoryCell `json:"categories"`
	Map          string         `json:"category_map"` // base64(gzip member of one byte per id); not hashed
	MapSHA256    string         `json:"category_map_sha256"`
	Format       int            `json:"format"`
}

// A CategoryCell is what one segment holds of one category. Root is the RFC
// 6962 Merkle root over the events' hashes (32 raw bytes each) in id order.
type CategoryCell struct {
	Category string `json:"category"`
	Count    int64  `json:"count"`
	First    string `json:"first_timestamp"`
	Last     string `json:"last_timestamp"`
	Root     string `json:"root"`
}

// canonical is the manifest as it is written.
func (m Manifest) canonical() []byte {
	b, err := json.Marshal(m, anyText)
	if err != nil {
		panic(fmt.Sprintf("ledger: marshalling a manifest: %v", err))
	}
	return canonicalize(b)
}

// digest is the hex SHA-256 of the canonical manifest without category_map,
// for which its own SHA-256 stands: compressors differ.
func (m Manifest) digest() string {
	b, err := json.Marshal(struct {
		Manifest
		Map string `json:"category_map,omitzero"`
	}{Manifest: m}, anyText)
	if err != nil {
		panic(fmt.Sprintf("ledger: marshalling a manifest: %v", err))
	}
	sum := sha256.Sum256(canonicalize(b))
	return hex.EncodeToString(sum[:])
}

func (m Manifest) has(category string) bool { return m.count(category) > 0 }

// count is how many events of a category were sealed.
func (m Manifest) count(category string) int64 {
	for _, c := range m.Categories {
		if c.Category == category {
			return c.Count
		}
	}
	return 0
}

// rawMap is the category map, checked against its hash.
func (m Manifest) rawMap() ([]byte, error) {
	z, err := base64.StdEncoding.Strict().DecodeString(m.Map)
	if err != nil {
		return nil, fmt.Errorf("category map: %w", err)
	}
	if err := checkMember(z); err != nil {
		return nil, fmt.Errorf("category map: %w", err)
	}
	in := newMemberReader(bytes.NewReader(z), len(z))
	in.raw = true
	raw, err := io.ReadAll(io.LimitReader(in, int64(m.mapLen())+1))
	if err != nil {
		return nil, fmt.Errorf("category map: %w", err)
	}
	if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != m.MapSHA256 {
		return nil, fmt.Errorf("category map: not the one that was sealed")
	}
	return raw, nil
}

func parseManifest(b []byte) (Manifest, error) {
	var m Manifest
	if err := json.Unmarshal(b, &m, json.RejectUnknownMembers(true)); err != nil {
		return m, fmt.Errorf("malformed manifest: %w", err)
	}
	if !bytes.Equal(m.canonical(), bytes.TrimSuffix(b, []byte("\n"))) {
		return m, fmt.Errorf("malformed manifest: not canonical")
	}
	first, err := ParseID(m.FirstID)
	if err != nil {
		return m, fmt.Errorf("malformed manifest: first_id: %w", err)
	}
	last, err := ParseID(m.LastID)
	if err != nil {
		return m, fmt.Errorf("malformed manifest: last_id: %w", err)
	}
	if n := m.mapLen(); n == 0 || n > maxIDs || last != first+ID(n)-1 {
		return m, fmt.Errorf("malformed manifest: a category map of %d ids for %s to %s", n, first, last)
	}
	return m, nil
}

// mapLen is how many ids the category map has, by the end of its gzip member;
// 0: it is none.
func (m Manifest) mapLen() uint32 {
	b, err := base64.StdEncoding.DecodeString(m.Map)
	if err != nil || len(b) < 4 {
		return 0
	}
	return binary.LittleEndian.Uint32(b[len(b)-4:])
}

// A tally gathers, event by event, what a segment's manifest says.
type tally struct {
	name        string
	first, last ID
	firstTime   micros
	lastTime    micros
	prev        [64]byte // previous_hash of the first event
	lastHash    [64]byte
	bytes       int64
	content     hash.Hash // nil: not hashed
	cells       map[string]*cellTally
	order       []string // categories as they appeared: what ids index for now
	ids         []byte   // index into order, for each id from first on
	missing     int64    // ids that events_missing stands for, but its own
	hurt        error    // a line that was found on disk is damaged
	hurts       int      // how many are
	hasher      *hasher
}

type cellTally struct {
	index       byte
	count       int64
	first, last micros
	tree        merkle
	leaves      [][sha256.Size]byte // that are not in the tree yet
}

func newTally(name string, first ID) *tally {
	return &tally{name: name, first: first, content: sha256.New(), cells: map[string]*cellTally{}, hasher: newHasher()}
}

// add takes the next event, raw being its line with the newline, and hash its
// hash, sum in bytes. The segment's first id is that of its first event, or of
// the hole before it.
func (t *tally) add(l *line, raw, hash []byte, sum *[sha256.Size]byte) {
	if len(t.ids) == 0 {
		t.firstTime = l.time
		copy(t.prev[:], l.prev)
	}
	for t.first+ID(len(t.ids)) < l.id {
		t.ids = append(t.ids, noCategory)
		t.missing++
	}
	c, leaf := t.cell(l.category, l.time), [1][sha256.Size]byte{t.hasher.leaf(sum)}
	c.tree.add(t.hasher, leaf[:])
	c.count, c.last = c.count+1, l.time
	t.ids = append(t.ids, c.index)
	t.last, t.lastTime = l.id, l.time
	copy(t.lastHash[:], hash)
	t.bytes += int64(len(raw))
	if t.content != nil {
		t.content.Write(raw)
	}
}

// cell is that of a category, begun at a time when it is new.
func (t *tally) cell(category []byte, at micros) *cellTally {
	c := t.cells[string(category)]
	if c == nil {
		c = &cellTally{index: byte(len(t.order)), first: at}
		t.order = append(t.order, string(category))
		t.cells[string(category)] = c
	}
	return c
}

// next is the id behind the last one that the category map has.
func (t *tally) next() ID { return t.first + ID(len(t.ids)) }

// full tells whether the next event, n bytes at time at, belongs into a new
// segment: decided by the events alone.
func (t *tally) full(n int, at micros, c Config) bool {
	return t.bytes > 0 && (t.bytes+int64(n) > c.MaxFileSize || at.sub(t.firstTime) > c.MaxFileAge)
}

func (t *tally) contentHash() string {
	if t.content == nil {
		return ""
	}
	return hex.EncodeToString(t.content.Sum(nil))
}

// manifest says what was gathered; the category map is given raw, for packMap.
func (t *tally) manifest() (m Manifest, categories []byte) {
	names := slices.Sorted(maps.Keys(t.cells))
	var place [256]byte
	place[noCategory] = noCategory
	m = Manifest{Segment: t.name, FirstID: t.first.String(), LastID: t.last.String(), PreviousHash: string(t.prev[:]),
		LastHash: string(t.lastHash[:]), SHA256: t.contentHash(), Bytes: t.bytes, Format: FormatVersion}
	for i, name := range names {
		c := t.cells[name]
		place[c.index] = byte(i)
		root := c.tree.root(t.hasher)
		m.Categories = append(m.Categories, CategoryCell{name, c.count, c.first.text(), c.last.text(), hex.EncodeToString(root[:])})
	}
	ids := make([]byte, len(t.ids))
	for i, c := range t.ids {
		ids[i] = place[c]
	}
	sum := sha256.Sum256(ids)
	m.MapSHA256 = hex.EncodeToString(sum[:])
	return m, ids
}

// packMap is a raw category map as it stands in a manifest.
func packMap(categories []byte) string {
	packed, err := new(memberWriter).pack(categories)
	if err != nil {
		panic(fmt.Sprintf("ledger: compressing a category map: %v", err)) // in memory: never fails
	}
	return base64.StdEncoding.EncodeToString(packed)
}

func (m Manifest) times() (first, last time.Time) {
	for _, c := range m.Categories {
		f, _ := time.Parse(timestampLayout, c.First)
		l, _ := time.Parse(timestampLayout, c.Last)
		if first.IsZero() || f.Before(first) {
			first = f
		}
		if l.After(last) {
			last = l
		}
	}
	return first, last
}
