package ledger

import (
	"slices"
	"testing"
)

// sameHashed fails where findHashed says otherwise of a line than find, which
// goes through every value. It may take a line whose data's brackets do not
// match: the places must be those of the same line with another data.
func sameHashed(t *testing.T, line []byte) {
	t.Helper()
	var want, got places
	ok, hashed := want.find(line), got.findHashed(line)
	switch {
	case ok && (!hashed || got != want):
		t.Fatalf("%s: %v %+v, want %+v", line, hashed, got, want)
	case ok || !hashed:
		return
	}
	from, end := got.data+len(`"data":`), got.result-1
	moved := end - from - len("{}")
	other := slices.Concat(line[:from], []byte("{}"), line[end:])
	if !want.find(other) || got != (places{want.action, want.actor, want.target, want.data, want.result + moved, want.err + moved, want.prev + moved}) {
		t.Fatalf("%s: %+v, want %+v", line, got, want)
	}
}

func TestFindHashed(t *testing.T) {
	t.Parallel()
	const (
		head = `{"id":"00000000002a","timestamp":"2026-01-02T03:04:05.000006Z","category":"user","action":"a","actor":"b","target":`
		tail = `,"previous_hash":"0000000000000000000000000000000000000000000000000000000000000000","hash":"1111111111111111111111111111111111111111111111111111111111111111"}`
	)
	for _, rest := range []string{
		`null,"data":{},"result":"success","error":null`,
		`"t","data":{"a":[1,{"b":"c"}]},"result":"","error":null`,
		`null,"data":{"result":"success","error":null},"result":"failure","error":null`,
		`null,"data":{"a":"},\"result\":\"x\",\"error\":null"},"result":"success","error":null`,
		`null,"data":{"a":"}"},"result":"},\"result\":\"x","error":null`,
		`null,"data":{"a":"},\"result\":"},"result":"\\","error":null`,
		`null,"data":{},"result":"success","error":"no"`,
		`null,"data":{},"result":"success","error":"\",\"error\":null"`,
		`"{},\"result\":\"x\",\"error\":null","data":{"a":"b"},"result":"success","error":null`,
		`",\"data\":{}","data":{"\"":"\"},\"result\":\"x\""},"result":"success","error":null`,
		`null,"data":{"a":{"data":{},"result":"success","error":null}},"result":"x","error":null`,
	} {
		line := []byte(head + rest + tail)
		if !new(places).find(line) {
			t.Fatalf("%s is no line", line)
		}
		sameHashed(t, line)
		for i := range line { // cut and altered
			sameHashed(t, line[:i])
			was := line[i]
			for _, c := range []byte(`"\,:{}[n`) {
				line[i] = c
				sameHashed(t, line)
			}
			line[i] = was
		}
	}
}
