package ledger

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
)

func TestQueryIsAPlainScan(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	f.logins(700)
	f.settleSeals()
	f.logins(20)
	ids := func(filter Filter) (got []ID) {
		err := f.l.Query(context.Background(), filter, func(raw []byte) error {
			ln, err := parseLine(raw)
			got = append(got, ln.id)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	n := f.seq
	if got := ids(Filter{}); uint64(len(got)) != n || got[0] != ID(n) || got[n-1] != 1 {
		t.Errorf("all: %d", len(got))
	}
	if got := ids(Filter{Ascending: true, After: 100, Before: 104}); !slices.Equal(got, []ID{101, 102, 103}) {
		t.Errorf("range %v", got)
	}
	if got := ids(Filter{After: 300, Before: 500}); len(got) != 199 {
		t.Errorf("range of %d", len(got))
	}
	if got := ids(Filter{Actors: []string{"u3", "u4"}, Limit: 5}); len(got) != 5 {
		t.Errorf("actors %v", got)
	}
	if got := ids(Filter{Text: "A\u00c9"}); len(got) != 720 {
		t.Errorf("text in any case: %d", len(got))
	}
	if got := ids(Filter{Categories: []string{"user"}}); got != nil {
		t.Errorf("category %v", got)
	}
	for id := ID(1); id <= ID(n); id++ {
		raw, err := f.l.Get(id)
		if err != nil || !bytes.HasPrefix(raw, []byte(`{"id":"`+id.String())) {
			t.Fatalf("get %s: %v", id, err)
		}
	}
	if _, err := f.l.Get(ID(n + 1)); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}
