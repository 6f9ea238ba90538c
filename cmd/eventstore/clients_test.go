package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// An example is one of the README: how it is run, and as which actor it appends.
type example struct {
	title, actor, file string
	command            func(t *testing.T) []string // without the file; skips the test where something is missing
}

var examples = []example{
	{"curl", "curl", "curl.sh", needs("sh", "curl")},
	{"Shell", "shell", "shell.sh", needs("sh", "tar")},
	{"Python, HTTP", "python", "over_http.py", python("httpx")},
	{"Python, NATS", "python-nats", "over_nats.py", python("nats")},
	{"Go, NATS", "go", "main.go", func(t *testing.T) []string { return append(needs("go")(t), "run") }},
	{"Node", "node", "client.mjs", needs("node")},
}

// needs gives a command whose programs are all there: it runs the first.
func needs(programs ...string) func(t *testing.T) []string {
	return func(t *testing.T) []string {
		t.Helper()
		for _, p := range programs {
			if _, err := exec.LookPath(p); err != nil {
				t.Skipf("no %s on this machine", p)
			}
		}
		return programs[:1]
	}
}

// python gives an interpreter that has a module: the system's may have what another one in PATH lacks.
func python(module string) func(t *testing.T) []string {
	return func(t *testing.T) []string {
		t.Helper()
		for _, p := range []string{"python3", "/usr/bin/python3"} {
			if exec.Command(p, "-c", "import "+module).Run() == nil {
				return []string{p}
			}
		}
		t.Skipf("no Python with the module %s on this machine", module)
		return nil
	}
}

// readmeExamples are the fenced blocks of the README's section Clients, by the heading above them.
func readmeExamples(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(b), "\n## Clients\n")
	section, _, _ = strings.Cut(section, "\n## ")
	found := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)\n### ([^\n]*)\n\n```[a-z]+\n(.*?)\n```").FindAllStringSubmatch(section, -1) {
		found[m[1]] = m[2] + "\n"
	}
	if len(found) != strings.Count(section, "```")/2 {
		t.Fatalf("%d examples, but %d fences", len(found), strings.Count(section, "```"))
	}
	return found
}

// Every example of the README runs as it stands, and its event is chained.
func TestREADMEClients(t *testing.T) {
	t.Parallel()
	texts := readmeExamples(t)
	for title := range texts {
		if !slices.ContainsFunc(examples, func(e example) bool { return e.title == title }) {
			t.Errorf("no test runs the example %q", title)
		}
	}
	n := newNode(t)
	bin := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := fmt.Sprintf("#!/bin/sh\nEVENTSTORE_TEST_MAIN=1 exec '%s' \"$@\"\n", exe)
	if err := os.WriteFile(filepath.Join(bin, "eventstore"), []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, e := range examples {
		t.Run(e.title, func(t *testing.T) {
			text, ok := texts[e.title]
			if !ok {
				t.Fatal("the README has no such example")
			}
			run := e.command(t)
			file := filepath.Join(t.TempDir(), e.file)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(run[0], append(run[1:], file)...)
			cmd.Dir = filepath.Join("..", "..") // where go.mod is
			cmd.Env = append(os.Environ(), "EVENT_STORE_URL="+n.url(), "NATS_URL=nats://"+n.nats, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Run(); err != nil {
				t.Fatalf("%v: %s", err, &out)
			}
			for range 100 { // over NATS it is chained a moment later
				if strings.Contains(must(t, "", "query", "--url", n.url(), "--actor", e.actor, "--output", "ndjson"), `"actor":"`+e.actor+`"`) {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
			t.Errorf("no event by %s; it printed %s", e.actor, &out)
		})
	}
	n.stop(t)
	must(t, "", "verify", "--data", n.dir)
}
