package ledger

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func exists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// A folder that may turn out to follow another ledger gets no key of its own
// before it has an event.
func TestKeyIsKeptWithTheFirstEvent(t *testing.T) {
	dir := t.TempDir()
	open := func() *Ledger {
		l, err := Open(t.Context(), Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := open()
	first := l.PublicKey()
	if !l.NewKey() {
		t.Error("no new key")
	}
	l.Close()
	if exists(dir, keyFile) || exists(dir, pubFile) {
		t.Error("a key was written without need")
	}
	l = open()
	if l.PublicKey() == first {
		t.Error("the key that was not kept is there again")
	}
	first = l.PublicKey()
	if err := l.Project(t.Context(), []Message{{Seq: 1, Time: time.Now(), Subject: "events.system", Data: []byte(`{"action":"a","actor":"b"}`)}}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	pub, _ := os.ReadFile(filepath.Join(dir, pubFile))
	if err := os.Remove(filepath.Join(dir, pubFile)); err != nil { // a crash between the two writes, or only ledger.key was copied
		t.Fatal(err)
	}
	l = open()
	if l.PublicKey() != first {
		t.Errorf("key %s after %s", l.PublicKey(), first)
	}
	if err := l.KeepKey(); err != nil || l.NewKey() {
		t.Error(err, l.NewKey())
	}
	if again, _ := os.ReadFile(filepath.Join(dir, pubFile)); !bytes.Equal(pub, again) {
		t.Errorf("ledger.pub is %s, was %s", again, pub)
	}
	mustValid(t, l.dir, VerifyOptions{})
	l.Close()
}

// Two stores with one key and different wishes, on one stream: each asks once.
func TestStoresWithDifferentConfigurationsDoNotFight(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	var stores []*Ledger
	for n, dir := range dirs {
		if n > 0 {
			for _, name := range []string{keyFile, pubFile} {
				b, err := os.ReadFile(filepath.Join(dirs[0], name))
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		c := DefaultConfig()
		c.MaxFileAge = time.Duration(n+1) * time.Hour
		l, err := Open(t.Context(), Options{Dir: dir, Config: c, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.KeepKey(); err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		stores = append(stores, l)
	}
	seq := uint64(0)
	for round := range 4 {
		var ms []Message
		for _, l := range stores {
			for _, o := range l.OwnMessages() {
				seq++
				ms = append(ms, Message{Seq: seq, Time: time.Now(), Subject: subjectOwn + o.Action, Data: o.Data})
			}
		}
		if want := map[bool]int{true: 2, false: 0}[round == 0]; len(ms) != want {
			t.Fatalf("round %d: %d messages, want %d", round, len(ms), want)
		}
		for _, l := range stores {
			if err := l.Project(t.Context(), ms); err != nil {
				t.Fatal(err)
			}
			if err := l.Wait(t.Context(), ID(seq)); err != nil {
				t.Fatal(err)
			}
			if !l.Configured() {
				t.Error("not configured")
			}
		}
	}
	if stores[0].Head() != stores[1].Head() {
		t.Errorf("heads %v and %v", stores[0].Head(), stores[1].Head())
	}
	for _, l := range stores {
		mustValid(t, l.dir, VerifyOptions{})
	}
}

// A new key would make what the old one signed worth nothing.
func TestEventsWithoutTheirKeyAreRefused(t *testing.T) {
	dir := t.TempDir()
	f := &feed{t: t, l: open(t, dir, DefaultConfig())}
	f.own()
	f.logins(3)
	closeLedger(t, f.l)
	key, pub := allBytes(t, filepath.Join(dir, keyFile)), allBytes(t, filepath.Join(dir, pubFile))
	os.Remove(filepath.Join(dir, keyFile))
	os.Remove(filepath.Join(dir, pubFile))
	if l, err := Open(t.Context(), Options{Dir: dir, Logger: quiet}); err == nil {
		l.Close()
		t.Fatal("opened")
	}
	if exists(dir, keyFile) || exists(dir, pubFile) {
		t.Error("a key was made")
	}
	os.WriteFile(filepath.Join(dir, keyFile), key, 0o600)
	os.WriteFile(filepath.Join(dir, pubFile), pub, 0o600)
	mustValid(t, dir, VerifyOptions{})
}
