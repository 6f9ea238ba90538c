package ledger

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// encode gives the file for what was gathered about a segment. The index
// itself is what reading that file's head gives.
func (x *index) encode(g *growing) ([]byte, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	x.first, x.hours, x.unclear = g.first, g.hours, g.unclear
	var body []byte
	if x.unclear {
		x.gone = nil
	} else {
		for f := range g.values {
			var err error
			if body, x.dicts[f], err = encodeDict(body, g.values[f]); err != nil {
				return nil, err
			}
		}
	}
	x.body = int64(len(body))
	head := x.appendHead(nil)
	x.sum = crc32.Checksum(head, castagnoli)
	b := binary.LittleEndian.AppendUint32([]byte(indexMagic), uint32(len(head)))
	b = binary.LittleEndian.AppendUint32(b, x.sum)
	x.shift(int64(indexPreface + len(head)))
	return append(append(b, head...), body...), nil
}

// encodeDict appends a field's values and bitmaps. Offsets count from the body.
func encodeDict(body []byte, values map[string]*posting) ([]byte, []dictBlock, error) {
	names := make([]string, 0, len(values))
	for v := range values {
		names = append(names, v)
	}
	slices.Sort(names)
	var blocks []dictBlock
	for len(names) > 0 {
		var dict, bitmaps []byte
		first := names[0]
		for len(names) > 0 && len(dict) < dictBytes {
			v := names[0]
			names = names[1:]
			dict = append(binary.AppendUvarint(dict, uint64(len(v))), v...)
			bm := values[v].bitmap().Clone()
			if bm.GetCardinality() == 1 {
				dict = binary.AppendVarint(append(dict, 0), int64(bm.Minimum()))
				continue
			}
			bm.RunOptimize()
			b, err := bm.ToBytes()
			if err != nil {
				return nil, nil, err
			}
			dict = binary.AppendVarint(dict, int64(len(b)))
			dict = binary.LittleEndian.AppendUint32(dict, crc32.Checksum(b, castagnoli))
			bitmaps = append(bitmaps, b...)
		}
		blocks = append(blocks, dictBlock{first, int64(len(body)), int64(len(dict)), crc32.Checksum(dict, castagnoli)})
		body = append(append(body, dict...), bitmaps...)
	}
	return body, blocks, nil
}

// shift makes offsets count from the file's beginning.
func (x *index) shift(n int64) {
	for f := range x.dicts {
		for i := range x.dicts[f] {
			x.dicts[f][i].off += n
		}
	}
}

func (x *index) appendHead(b []byte) []byte {
	str := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	num := func(n int64) { b = binary.AppendVarint(b, n) }
	str(x.digest)
	num(x.size)
	num(int64(len(x.gone)))
	for _, c := range x.gone {
		str(c)
	}
	num(x.body)
	num(int64(x.first))
	if x.unclear {
		num(1)
	} else {
		num(0)
	}
	num(int64(len(x.members)))
	for _, m := range x.members {
		num(int64(m.first))
		num(m.n)
		num(m.rawSize)
		num(int64(m.at))
	}
	num(int64(len(x.hours)))
	for _, h := range x.hours {
		num(h.hour)
		num(int64(h.pos))
	}
	for _, blocks := range x.dicts {
		num(int64(len(blocks)))
		for _, d := range blocks {
			str(d.first)
			num(d.off)
			num(d.n)
			num(int64(d.sum))
		}
	}
	return b
}

// parseHead is the reverse of appendHead.
func (x *index) parseHead(b []byte) bool {
	r := headReader{b: b}
	x.digest, x.size = r.str(), r.num()
	for range r.count() {
		x.gone = append(x.gone, r.str())
	}
	x.body, x.first, x.unclear = r.num(), ID(r.num()), r.num() != 0
	off := int64(0)
	for range r.count() {
		m := block{first: ID(r.num()), off: off, n: r.num(), rawSize: r.num(), at: micros(r.num())}
		if m.n <= 0 || m.rawSize < 0 {
			return false
		}
		off += m.n
		x.members = append(x.members, m)
	}
	for range r.count() {
		x.hours = append(x.hours, hourMark{r.num(), uint32(r.num())})
	}
	for f := range x.dicts {
		for range r.count() {
			x.dicts[f] = append(x.dicts[f], dictBlock{r.str(), r.num(), r.num(), uint32(r.num())})
		}
	}
	return !r.bad && len(r.b) == 0 && off == x.size
}

// A headReader reads what an index's head is made of.
type headReader struct {
	b   []byte
	bad bool
}

func (r *headReader) num() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count is a number of things that take at least a byte each.
func (r *headReader) count() int {
	n := r.num()
	if n < 0 || n > int64(len(r.b)) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(n)
}

func (r *headReader) str() string {
	n, k := binary.Uvarint(r.b)
	if k <= 0 || n > uint64(len(r.b)-k) {
		r.bad, r.b = true, nil
		return ""
	}
	s := string(r.b[k : k+int(n)])
	r.b = r.b[k+int(n):]
	return s
}
