package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// documented gives the commands that deploy/README.md has under a name.
func documented(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "deploy", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(b), "<!-- "+name+" -->\n```sh\n")
	commands, _, ended := strings.Cut(rest, "```")
	if !found || !ended {
		t.Fatalf("deploy/README.md has no commands for %s", name)
	}
	return commands
}

// asDocumented runs them in the folder above the store's, with the program in the PATH.
func (n *node) asDocumented(t *testing.T, name string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	script := "#!/bin/sh\nEVENTSTORE_TEST_MAIN=1 exec '" + exe + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(bin, "eventstore"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-ec", documented(t, name))
	cmd.Dir, cmd.Env = filepath.Dir(n.dir), append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// restored takes a backup under load, appends more, destroys the folder and
// goes on from the backup as documented. keep saves what else is to survive.
func restored(t *testing.T, n *node, keep func()) *work {
	n.env = []string{"EVENT_STORE_STORAGE_MAX_FILE_SIZE=2MiB"}
	w := newWork()
	n.start(t)
	w.during(n, func() { time.Sleep(500 * time.Millisecond) })
	w.during(n, func() { n.asDocumented(t, "backup") })
	w.during(n, func() { time.Sleep(500 * time.Millisecond) })
	n.caughtUp(t, "before the loss")
	n.kill(t)
	keep()
	forget(t, n.dir)
	n.asDocumented(t, "restore")
	n.dir = filepath.Join(filepath.Dir(n.dir), "restored")
	return w
}

func TestRestoredBackupCatchesUpFromItsStream(t *testing.T) {
	t.Parallel()
	s, n := startNATS(t), faultNode(t, filepath.Join(t.TempDir(), "data"))
	n.elsewhere(s)
	w := restored(t, n, func() {})
	n.start(t)
	w.during(n, func() { w.underWay(t) })
	w.check(t, n, killedPromise, "restored")
	n.stop(t)
	must(t, "", "verify", "--data", n.dir)
}

func TestRestoredBackupTakesTheEmbeddedStreamAlong(t *testing.T) {
	t.Parallel()
	n := faultNode(t, filepath.Join(t.TempDir(), "data"))
	saved := filepath.Join(t.TempDir(), "jetstream")
	w := restored(t, n, func() {
		if err := os.Rename(filepath.Join(n.dir, "jetstream"), saved); err != nil {
			t.Fatal(err)
		}
	})
	if err := os.Rename(saved, filepath.Join(n.dir, "jetstream")); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	w.check(t, n, killedPromise, "restored")
}

// Without its stream a restored ledger is what the copy was, and goes on.
func TestRestoredBackupGoesOnWithoutItsStream(t *testing.T) {
	t.Parallel()
	n := faultNode(t, filepath.Join(t.TempDir(), "data"))
	restored(t, n, func() {})
	before := decode[struct {
		Events int64
		Head   struct{ ID string }
	}](t, must(t, "", "verify", "--data", n.dir, "--json"))
	n.start(t)
	w := newWork()
	w.next.Store(1 << 40) // numbers that the lost events did not have
	w.during(n, func() { w.underWay(t) })
	w.check(t, n, wholePromise, "restored")
	if last, _ := w.last(); before.Events == 0 || last.id <= before.Head.ID {
		t.Errorf("%d events restored up to %s, then %s", before.Events, before.Head.ID, last.id)
	}
}
