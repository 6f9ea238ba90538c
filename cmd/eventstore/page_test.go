package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/nats-io/nats.go"

	"home.lab/event-store/ledger"
	"home.lab/event-store/ledger/sample"
)

// markup is an event with markup in every field that a publisher fills.
const markup = `{"action":"<script>window.hacked=1</script>","actor":"\"><img src=x onerror=window.hacked=2>",` +
	`"target":"</td></table><b>bold</b>","data":{"<i>":"</pre><script>window.hacked=3</script>","href":"javascript:window.hacked=4"},` +
	`"result":"'><svg onload=window.hacked=5>","error":"{{.}} ${1} <style>*{display:none}</style> \u202egnp.exe"}`

// tricky has what a hash must not lose: digits beyond a double's, escapes, braces in strings, characters beyond 16 bits.
const tricky = `{"action":"tricky","actor":"ada","target":"a\"}{[\\","data":{"big":9007199254740993,"tiny":5e-324,"zero":-0.0,` +
	`"text":"\u20ac \ud83d\ude00 \u2028 \"quoted\" \\ } ] , : \u0000","list":[[],{},null,true]}}`

// demoNode runs a store whose ledger has a month's events, then one with markup and a tricky one.
func demoNode(t *testing.T) *node {
	t.Helper()
	chromium(t)
	dir := filepath.Join(t.TempDir(), "data")
	l, err := ledger.Open(t.Context(), ledger.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	const days, events = 20, 1000
	g := sample.New(7)
	began := time.Now().Add(-days * 24 * time.Hour)
	var ms []ledger.Message
	add := func(category string, data []byte) {
		at := began.Add(time.Duration(len(ms)) * days * 24 * time.Hour / (events + 2))
		ms = append(ms, ledger.Message{Seq: uint64(len(ms) + 1), Time: at, Subject: "events." + category, Data: data})
	}
	for range events {
		add(g.Next())
	}
	add("user", []byte(markup))
	add("security", []byte(tricky))
	if err := l.Project(t.Context(), ms); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	n := &node{dir: dir, http: freeAddress(t), nats: freeAddress(t), log: filepath.Join(t.TempDir(), "log")}
	n.start(t)
	n.endWith(t)
	return n
}

// rows are the ids that the list shows.
func (b *tab) rows() []string {
	b.t.Helper()
	return eval[[]string](b, `[...document.querySelectorAll("#events tbody tr")].map((r) => r.dataset.id)`)
}

// location is the address bar, from the path on.
func (b *tab) location() string {
	b.t.Helper()
	return eval[string](b, `location.pathname + location.search`)
}

// The page in a browser: it loads, filters, pages, opens an event whose hash it recomputes, follows, and verifies.
func TestPage(t *testing.T) {
	t.Parallel()
	n := demoNode(t)
	b := newTab(t, n.url())
	b.open("/")
	b.wait("the list", `document.querySelectorAll("#events tbody tr").length === 100`)
	for range 100 { // until the verification that every start begins with is done
		if b.text(".pill") == "chain valid" {
			break
		}
		time.Sleep(50 * time.Millisecond)
		b.open("/")
	}
	if bars := b.count("#lately svg a"); bars < 20 || bars > 22 || !strings.Contains(b.text("#lately"), "service") {
		t.Errorf("the chart has %d bars and says %q", bars, b.text("#lately"))
	}
	b.picture("page-light")

	t.Run("filter", func(t *testing.T) { filtersThePage(t, b) })
	t.Run("scroll", func(t *testing.T) { scrollsThePage(t, b) })
	t.Run("event", func(t *testing.T) { opensAnEvent(t, b) })
	t.Run("markup", func(t *testing.T) { showsMarkupAsText(t, b) })
	t.Run("keys", func(t *testing.T) { worksWithTheKeyboard(t, b) })
	t.Run("tail", func(t *testing.T) { followsLive(t, b, n) })
	t.Run("verify", func(t *testing.T) { verifiesOnThePage(t, b) })
	t.Run("looks", func(t *testing.T) { looksFineEverywhere(t, b) })
	t.Run("trouble", func(t *testing.T) { saysThatTheStoreIsGone(t, b, n) })
}

func filtersThePage(t *testing.T, b *tab) {
	b.click(`#filters input[value=security]`)
	b.wait("security only", `[...document.querySelectorAll("#events tbody .category")].every((c) => c.innerText.trim() === "security")`)
	if at := b.location(); at != "/?category=security" {
		t.Errorf("the URL is %s", at)
	}
	b.click(`#fields summary`)
	b.fill(`#filters [name=actor]`, "ada\r")
	b.wait("one event", `document.querySelectorAll("#events tbody tr").length === 1`)
	if at := b.location(); at != "/?category=security&actor=ada" && at != "/?actor=ada&category=security" {
		t.Errorf("the URL is %s", at)
	}
	api := eval[string](b, `fetch(document.querySelector("#links a").href).then((r) => r.text())`)
	if strings.Count(api, `"id"`) != 1 || !strings.Contains(api, "tricky") {
		t.Errorf("the API's list for the same filters is %.300s", api)
	}
	b.picture("filtered")
	b.do(chromedp.NavigateBack())
	b.wait("the filters before", `document.querySelectorAll("#events tbody tr").length > 1 && location.search === "?category=security"`)
	b.expect("422")
	b.open("/?limit=0")
	b.wait("what is wrong with the filter", `document.querySelector("main .notice.bad")?.innerText.includes("limit")`)
	b.expect("")
}

func scrollsThePage(t *testing.T, b *tab) {
	b.open("/")
	b.wait("the list", `document.querySelectorAll("#events tbody tr").length >= 100`)
	for want := 200; want <= 400; want += 100 {
		eval[bool](b, `scrollTo(0, document.body.scrollHeight), true`)
		b.wait("older events", `document.querySelectorAll("#events tbody tr").length >= %d`, want)
	}
	rows := b.rows()
	for i := 1; i < len(rows); i++ {
		if rows[i] >= rows[i-1] {
			t.Fatalf("%s comes after %s", rows[i], rows[i-1])
		}
	}
	first, last := eval[uint64](b, `parseInt(%q, 16)`, rows[0]), eval[uint64](b, `parseInt(%q, 16)`, rows[len(rows)-1])
	if first-last != uint64(len(rows)-1) {
		t.Errorf("%d rows from %s to %s", len(rows), rows[0], rows[len(rows)-1])
	}
}

func opensAnEvent(t *testing.T, b *tab) {
	b.open("/?q=tricky")
	b.wait("the chart, which comes later", `document.querySelectorAll("#lately svg a").length > 0`)
	b.click("#events tbody tr")
	b.wait("the hash to be the same", `document.getElementById("verdict")?.className === "verdict good"`)
	stored, recomputed := b.text("#stored"), b.text("#recomputed")
	if len(stored) != 64 || stored != recomputed {
		t.Errorf("stored %q, recomputed %q", stored, recomputed)
	}
	if data := b.text("#event pre"); !strings.Contains(data, "9007199254740993") || !strings.Contains(data, "5e-324") {
		t.Errorf("data shows %s", data)
	}
	if links, joints := b.count("#event .chain .link"), b.count("#event .chain .joint.holds"); links != 3 || joints < 1 {
		t.Errorf("the chain is drawn with %d links, %d of its joints hold", links, joints)
	}
	if !strings.Contains(b.location(), "event=0000") {
		t.Errorf("the URL is %s", b.location())
	}
	b.picture("event")
	b.click("#event .chain .link a")
	b.wait("the neighbour", `document.getElementById("verdict")?.className === "verdict good" && document.getElementById("stored").innerText !== %q`, stored)
	// What the browser recomputes is what it was sent: an answer that was altered on the way is not the same.
	eval[bool](b, `(() => { const real = fetch; window.fetch = async (u, o) => { const r = await real(u, o);
		return /events.[0-9a-f]{12}$/.test(u) ? new Response((await r.text()).replace('"success"', '"failure"')) : r; }; return true; })()`)
	eval[bool](b, `scrollTo(0, 0), true`)
	b.click("#close")
	b.wait("it to close", `!document.querySelector("#event .detail")`)
	b.click("#events tbody tr")
	b.wait("the hash to differ", `document.getElementById("verdict")?.className === "verdict bad"`)
}

func showsMarkupAsText(t *testing.T, b *tab) {
	b.open("/?actor=" + url.QueryEscape(`"><img src=x onerror=window.hacked=2>`))
	b.wait("one event", `document.querySelectorAll("#events tbody tr").length === 1`)
	b.click("#events tbody tr")
	b.wait("the hash to be the same", `document.getElementById("verdict")?.className === "verdict good"`)
	shown := b.text("main")
	var e map[string]any
	if err := json.Unmarshal([]byte(markup), &e); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"action", "actor", "target", "result", "error"} {
		if !strings.Contains(shown, e[name].(string)) {
			t.Errorf("%s is not shown as it is: %s", name, e[name])
		}
	}
	if made := b.count("main script, main style, #event img, #events img, main b, main svg[onload]"); made != b.count("#lately b") {
		t.Errorf("markup of an event became %d elements", made)
	}
	if eval[bool](b, `window.hacked !== undefined`) {
		t.Error("a script of an event ran")
	}
	b.picture("markup")
}

func worksWithTheKeyboard(t *testing.T, b *tab) {
	b.open("/")
	b.wait("the scripts", `!document.getElementById("keys").hidden`)
	b.press("/")
	b.wait("the search field", `document.activeElement.name === "q"`)
	eval[string](b, `document.activeElement.value = ""`) // the protocol's key types what a real one does not, since its keydown is cancelled
	b.press("tricky\r")
	b.wait("one event", `document.querySelectorAll("#events tbody tr").length === 1`)
	b.press("j")
	b.wait("the row", `document.activeElement.closest("#events tbody tr") !== null`)
	b.press("\r")
	b.wait("the event", `document.querySelector("#event .detail")`)
	b.press("\x1b")
	b.wait("the list", `!document.querySelector("#event .detail")`)
	if at := b.location(); at != "/?q=tricky" {
		t.Errorf("the URL is %s", at)
	}
}

func followsLive(t *testing.T, b *tab, n *node) {
	nc, err := nats.Connect("nats://" + n.nats)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	b.open("/?category=ai&order=asc") // what comes is put on top, so the order changes
	b.click("#tail")
	b.wait("the newest first", `location.search === "?category=ai"`)
	b.wait("the tail", `document.getElementById("tail").getAttribute("aria-pressed") === "true" && !document.getElementById("tail").dataset.waiting`)
	for i := range 3 {
		for _, category := range []string{"ai", "user"} {
			if err := nc.Publish("events."+category, fmt.Appendf(nil, `{"action":"live-%s-%d","actor":"ada"}`, category, i)); err != nil {
				t.Fatal(err)
			}
		}
		took := b.wait("the live event", `document.querySelector("#events tbody tr .action").innerText === "live-ai-%d"`, i)
		t.Logf("shown %s after it was published", took.Round(time.Millisecond))
	}
	b.picture("live")
	if strings.Contains(b.text("#events"), "live-user") {
		t.Error("the tail shows what the filter leaves out")
	}
	b.click("#tail")
	if err := nc.Publish("events.ai", []byte(`{"action":"unseen","actor":"ada"}`)); err != nil {
		t.Fatal(err)
	}
	nc.Flush()
	fetch(t, nil, n, "POST", "/events", `{"category":"ai","action":"unseen too","actor":"ada"}`, 201)
	time.Sleep(500 * time.Millisecond)
	if strings.Contains(b.text("#events"), "unseen") {
		t.Error("the tail goes on after it was turned off")
	}
}

func verifiesOnThePage(t *testing.T, b *tab) {
	b.open("/")
	before := b.text("#progress-text")
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // the page shows seconds
	b.click("#verify button")
	b.wait("another verification", `document.getElementById("progress-text").innerText.startsWith("Verified") && document.getElementById("progress-text").innerText !== %q`, before)
	// How far it is shows while it runs: here three of seven segments, for as long as the test wants.
	eval[bool](b, `(() => { const real = fetch; window.fetch = async (u, o) => {
		if (u === "/verify" && o?.method === "POST") { await new Promise((go) => (window.finish = go)); window.fetch = real; }
		else if (u === "/verify") return Response.json({ running: true, progress: { segments_done: 3, segments_total: 7, bytes_done: 40, bytes_total: 100 } });
		return real(u, o); }; return true; })()`)
	b.click("#verify button")
	b.wait("the progress", `document.getElementById("progress").value === 0.4 && document.getElementById("progress-text").innerText.includes("3 of 7")`)
	b.picture("verifying")
	eval[bool](b, `window.finish(), true`)
	b.wait("its end", `document.getElementById("progress").hidden && document.getElementById("progress-text").innerText.startsWith("Verified")`)
	if pill := b.text(".pill"); pill != "chain valid" {
		t.Errorf("the page says %q", pill)
	}
	b.click("#report summary")
	if report := b.text("#report"); !strings.Contains(report, "hashes") || !strings.Contains(report, "stream") {
		t.Errorf("what was checked: %q", report)
	}
}

func looksFineEverywhere(t *testing.T, b *tab) {
	id := b.rows()[10]
	for _, scheme := range []string{"light", "dark"} {
		b.scheme(scheme)
		for _, width := range []int64{1440, 800, 390, 320} {
			b.size(width, 900)
			for _, path := range []string{"/", "/?event=" + id} {
				b.open(path)
				if over := eval[int](b, `document.documentElement.scrollWidth - innerWidth`); over > 0 {
					t.Errorf("%s is %d pixels wider than a window of %d", path, over, width)
				}
				name := regexp.MustCompile(`\W+`).ReplaceAllString(fmt.Sprintf("look-%s-%d%s", scheme, width, strings.TrimRight(path, "0123456789abcdef")), "-")
				b.picture(strings.Trim(name, "-"))
			}
		}
	}
	b.size(1440, 1000)
	b.scheme("light")
}

func saysThatTheStoreIsGone(t *testing.T, b *tab, n *node) {
	b.open("/")
	b.wait("the scripts", `!document.getElementById("keys").hidden`)
	b.expect("ERR_CONNECTION_REFUSED")
	n.kill(t)
	b.click(`#filters input[value=security]`)
	b.wait("the page to say so", `document.getElementById("trouble").innerText.includes("did not work")`)
	n.start(t)
	b.click(`#filters input[value=user]`)
	b.wait("the page to go on", `document.getElementById("trouble").hidden && location.search.includes("user")`)
}
