package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// engine stands for the Docker engine's command: it says two events, ends as with an engine that restarts, and says the
// second again with a third.
const engine = `#!/bin/sh
if [ ! -e "$0.restarted" ]; then
  touch "$0.restarted"
  printf '%s\n' '1700000000123456789-abc {"category":"service","action":"container_start","actor":"docker","target":"x \"y\" \\\\"}'
else
  echo "$3" >"$0.since"
fi
[ -e "$0.done" ] && exec sleep 60
echo '1700000001123456789-abc {"category":"service","action":"container_die","actor":"docker","target":"x"}'
[ -e "$0.since" ] || exit 1
touch "$0.done"
echo '1700000002123456789-def {"category":"service","action":"network_destroy","actor":"docker","target":"y"}'
`

// The forwarder sends each event once, with its token, also those that the engine says again after a restart.
func TestDockerEventsExample(t *testing.T) {
	t.Parallel()
	needs("sh", "wget")(t)
	secret, stanza := newToken(t, "--name", "docker", "--scope", "append", "--scope", "read")
	n := startWith(t, stanza)
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte(engine), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", filepath.Join("..", "..", "deploy", "examples", "docker-events.sh"))
	cmd.Env = append(os.Environ(), "EVENT_STORE_URL="+n.url(), "EVENT_STORE_TOKEN="+strings.TrimSpace(secret), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
	})
	query := []string{"query", "--url", n.url(), "--token-file", writeFile(t, "token", secret), "--actor", "docker", "--order", "asc", "--output", "json"}
	var actions []string
	for end := time.Now().Add(20 * time.Second); len(actions) < 3 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		actions = nil
		for _, e := range decode[[]storedEvent](t, must(t, "", query...)) {
			actions = append(actions, e.Action)
		}
	}
	if got := strings.Join(actions, " "); got != "container_start container_die network_destroy" {
		t.Errorf("forwarded: %s; it said %s", got, &said)
	}
	if since, err := os.ReadFile(filepath.Join(bin, "docker.since")); err != nil || strings.TrimSpace(string(since)) != "1700000001.123456789" {
		t.Errorf("after the restart it asks from %q on: %v", since, err)
	}
}
