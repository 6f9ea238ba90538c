package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
)

// Without scripts the page lists, filters, opens an event and leads on.
func TestPageWithoutScripts(t *testing.T) {
	t.Parallel()
	n := demoNode(t)
	b := newTab(t, n.url())
	b.do(call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}))
	b.open("/")
	if rows := b.rows(); len(rows) != 100 {
		t.Fatalf("%d rows", len(rows))
	}
	last := b.rows()[99]
	b.click(".more a")
	b.wait("the next page", `document.readyState === "complete" && location.search.includes("before=%s")`, last)
	if first := b.rows()[0]; first >= last {
		t.Errorf("the next page begins with %s", first)
	}
	b.open("/")
	b.click("#filters input[value=security]")
	b.fill(`#filters [name=q]`, "tricky\r")
	b.wait("the filtered list", `document.querySelectorAll("#events tbody tr").length === 1`)
	if at := b.location(); at != "/?category=security&q=tricky" {
		t.Errorf("the URL is %s", at)
	}
	b.click("#events tbody a")
	b.wait("the event", `document.querySelector("#event .detail")`)
	if shown := b.text("#event"); !strings.Contains(shown, "9007199254740993") || !strings.Contains(shown, "needs scripts") {
		t.Errorf("the event shows %s", shown)
	}
	b.picture("without-scripts")
}

// On a copy in which somebody altered an event, the page shows the finding and the event's hash differs.
func TestPageShowsTampering(t *testing.T) {
	t.Parallel()
	n := demoNode(t)
	line := fetch(t, nil, n, "GET", "/events/000000000001", "", 200)
	// Behind the event to alter: nothing is chained to an altered tail.
	fetch(t, nil, n, "POST", "/events", `{"category":"service","action":"after","actor":"ada"}`, 201)
	n.stop(t)
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(n.dir)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(copied, "LOCK"), filepath.Join(copied, "ledger.key")} {
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tamper(t, copied, `"action":"tricky"`, `"action":"trick1"`)
	other := &node{dir: copied, http: freeAddress(t), nats: freeAddress(t), log: filepath.Join(t.TempDir(), "log")}
	other.start(t)
	other.endWith(t)
	b := newTab(t, other.url())
	b.open("/")
	b.click("#verify button")
	b.wait("the finding", `document.querySelector(".pill").innerText === "chain invalid" && document.querySelector(".findings li")`)
	id := b.text(".findings a code")
	if !strings.Contains(b.text(".findings"), "Chain broken at event "+id) {
		t.Errorf("the findings are %q", b.text(".findings"))
	}
	b.picture("tampered")
	b.click(".findings a")
	b.wait("the hash to differ", `document.getElementById("verdict")?.className === "verdict bad"`)
	if !strings.Contains(b.text("#event"), "trick1") {
		t.Errorf("the event is %q", b.text("#event"))
	}
	b.wait("it to be in view", `(() => { const top = document.querySelector("#event h2").getBoundingClientRect().top; return top > 0 && top < 600; })()`)
	b.picture("tampered-event")
	b.open("/?event=000000000001")
	b.wait("a sound event", `document.getElementById("verdict")?.className === "verdict good"`)
	if hash := b.text("#stored"); !strings.Contains(line, hash) || hash == "" {
		t.Errorf("event 1 has the hash %s, before it was %s", hash, line)
	}
}

// tamper replaces text in the active segment.
func tamper(t *testing.T, dir, from, to string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "events_*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), from) {
			continue
		}
		if err := os.WriteFile(file, []byte(strings.Replace(string(b), from, to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("no file has %s", from)
}

// Where tokens are configured the page shows nothing until it is given one, and then everything that it covers.
func TestPageWithToken(t *testing.T) {
	t.Parallel()
	chromium(t)
	secret, stanza := newToken(t, "--name", "page", "--scope", "read", "--scope", "append", "--category", "ai")
	secret = strings.TrimSpace(secret)
	n := startWith(t, stanza)
	append := func(action string) {
		t.Helper()
		must(t, secret, "append", "--url", n.url(), "--token-file", "-", "--category", "ai", "--action", action, "--actor", "ada")
	}
	append("first")
	b := newTab(t, n.url())
	b.expect("401")
	b.open("/")
	b.wait("the token field", `!document.getElementById("token").hidden`)
	if b.count("#events, #state, #lately") != 0 || strings.Contains(b.text("body"), "first") {
		t.Error("something is shown without a token")
	}
	b.fill(`#token input`, "est_wrong\r")
	b.wait("the refusal", `document.getElementById("refused").innerText !== ""`)
	b.picture("token")
	b.fill(`#token input`, secret+"\r")
	b.wait("the event", `document.querySelectorAll("#events tbody tr").length === 1`)
	b.click("#tail")
	append("second")
	b.wait("the live event", `document.querySelector("#events tbody tr .action").innerText === "second"`)
	b.click("#events tbody tr")
	b.wait("the hash to be the same", `document.getElementById("verdict")?.className === "verdict good"`)
	b.open("/") // the tab keeps the token
	b.wait("the events", `document.querySelectorAll("#events tbody tr").length === 2`)
	if choices := b.text("#filters fieldset"); strings.Contains(choices, "security") {
		t.Errorf("categories that the token does not cover are offered: %q", choices)
	}
}
