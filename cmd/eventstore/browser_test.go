package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// browserPatience is how long a tab waits for what must come; CI's machines are slow.
const browserPatience = 60 * time.Second

// chromium gives the path of a browser, and skips the test where there is none.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("no chromium on this machine")
	return ""
}

// A tab is one page of a browser of its own. What a browser reports about the page, an error, a refusal of its policy or
// a request to another place than the store, fails the test.
type tab struct {
	t     *testing.T
	ctx   context.Context
	store string

	mu       sync.Mutex
	expected string // part of a report that is no failure
}

func newTab(t *testing.T, store string) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium(t)), chromedp.WindowSize(1440, 1000),
		chromedp.UserDataDir(t.TempDir()))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses to start as root otherwise
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*browserPatience)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	b := &tab{t: t, store: store}
	b.ctx, cancel = chromedp.NewContext(ctx, chromedp.WithListener(b.reported))
	t.Cleanup(cancel)
	b.do() // starts the browser under this context, not under the first command's
	return b
}

// reported takes what the browser says by itself.
func (b *tab) reported(event any) {
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.complain(fmt.Sprintf("exception: %s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			b.complain("log: " + e.Entry.Text + " " + e.Entry.URL)
		}
	case *cdppage.EventJavascriptDialogOpening:
		b.complain("dialog: " + e.Message)
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err != nil || u.Scheme != "data" && "http://"+u.Host != b.store {
			b.complain("request to " + e.Request.URL)
		}
	}
}

func (b *tab) complain(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.expected == "" || !strings.Contains(text, b.expected) {
		b.t.Errorf("the browser reports: %s", text)
	}
}

// expect says which report is no failure.
func (b *tab) expect(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expected = text
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// call gives a command of the browser's protocol, which answers nothing.
func call[P any](c cdp.Command[P, cdp.Empty], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
		_, err := cdp.Call(ctx, tab, c, params)
		return err
	})
}

func (b *tab) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.store + path))
}

// eval gives the value of a script, awaited where it is a promise.
func eval[T any](b *tab, script string, args ...any) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](fmt.Sprintf(script, args...), chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%v: %s", err, script)
	}
	return v
}

// wait waits until a script's value is true, and gives how long that took.
func (b *tab) wait(what, script string, args ...any) time.Duration {
	b.t.Helper()
	began := time.Now()
	for time.Since(began) < browserPatience {
		if eval[bool](b, "Boolean("+script+")", args...) {
			return time.Since(began)
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.picture("failed")
	b.t.Fatalf("waited in vain for: %s; the page says:\n%s", what, eval[string](b, "document.body.innerText.slice(0, 3000)"))
	return 0
}

// text is what the first element of a selector shows.
func (b *tab) text(selector string) string {
	b.t.Helper()
	return eval[string](b, "document.querySelector(%q)?.innerText ?? ''", selector)
}

func (b *tab) count(selector string) int {
	b.t.Helper()
	return eval[int](b, "document.querySelectorAll(%q).length", selector)
}

// click clicks on the first element of a selector: again where the page put another in its place meanwhile.
func (b *tab) click(selector string) {
	b.t.Helper()
	err := chromedp.Do(b.ctx, chromedp.Click(chromedp.CSS(selector)))
	for tries := 0; tries < 10 && err != nil && strings.Contains(err.Error(), "Could not find node"); tries++ {
		err = chromedp.Do(b.ctx, chromedp.Click(chromedp.CSS(selector)))
	}
	if err != nil {
		b.t.Fatalf("clicking on %s: %v", selector, err)
	}
}

// fill types into the field of a selector.
func (b *tab) fill(selector, keys string) {
	b.t.Helper()
	b.do(chromedp.SendKeys(chromedp.CSS(selector), keys))
}

// press types keys to what has the focus.
func (b *tab) press(keys string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys))
}

// scheme sets which colours the user prefers, light or dark.
func (b *tab) scheme(name string) {
	b.t.Helper()
	b.do(call(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}}))
}

func (b *tab) size(width, height int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height))
}

// picture keeps a screenshot in the folder EVENTSTORE_SCREENSHOTS, when there is one, for people to look at.
func (b *tab) picture(name string) {
	b.t.Helper()
	dir := os.Getenv("EVENTSTORE_SCREENSHOTS")
	if dir == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}
