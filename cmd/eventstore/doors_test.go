package main

import (
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Whatever the umask, nobody else on the machine reads what the store writes.
func TestFilesAreTheOwnersAlone(t *testing.T) {
	n := &node{dir: filepath.Join(t.TempDir(), "data"), http: freeAddress(t), nats: freeAddress(t), log: filepath.Join(t.TempDir(), "log"),
		args: []string{"--config", writeFile(t, "store.yaml", "storage: {max_file_age: 1s}\ncategories: {service: {retention: 1s}}\n")}}
	old := syscall.Umask(0)
	n.start(t)
	syscall.Umask(old)
	n.endWith(t)
	for range 3 {
		must(t, "", "append", "--url", n.url(), "--category", "service", "--action", "a", "--actor", "b")
		time.Sleep(1100 * time.Millisecond)
	}
	n.until(t, "a segment is sealed", func() bool {
		sealed, _ := filepath.Glob(filepath.Join(n.dir, "*.jsonl.gz"))
		return len(sealed) > 0
	})
	must(t, "", "cleanup", "--url", n.url())
	sealed := 0
	filepath.WalkDir(n.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			t.Fatal(err)
		}
		info, err := d.Info()
		want := os.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		if err == nil && info.Mode().Perm() != want {
			t.Errorf("%s: %s", path, info.Mode())
		}
		if strings.HasSuffix(path, ".jsonl.gz") {
			sealed++
		}
		return nil
	})
	if sealed == 0 {
		t.Error("nothing was sealed: the walk has not seen every kind of file")
	}
}

// The store listens where it is told to, on 127.0.0.1, and nowhere else. The kernel's list of its sockets is what a scan of
// all ports would find, without knocking at the doors of others on this machine.
func TestNothingElseListens(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	want := []string{n.http, n.nats}
	if runtime.GOOS == "linux" {
		if got := listeners(t, n.cmd.Process.Pid); !slices.Equal(got, sorted(want)) {
			t.Errorf("listens on %q, want %q", got, want)
		}
	}
	_, httpPort, _ := net.SplitHostPort(n.http)
	for _, address := range otherAddresses(t) {
		for _, port := range []string{httpPort, n.nats[strings.LastIndexByte(n.nats, ':')+1:]} {
			if c, err := net.DialTimeout("tcp", net.JoinHostPort(address, port), 2*time.Second); err == nil {
				c.Close()
				t.Errorf("%s:%s is open", address, port)
			}
		}
	}
}

// What a client may say before it has said who it is, is bounded.
func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	req, err := http.NewRequest("GET", n.url()+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Long", strings.Repeat("x", 100<<10))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("100 KiB of header: %s", res.Status)
	}
	if s := newServer(t.Context(), nil, slog.New(slog.DiscardHandler)); s.ReadHeaderTimeout <= 0 || s.IdleTimeout <= 0 {
		t.Errorf("time-outs: header %s, idle %s", s.ReadHeaderTimeout, s.IdleTimeout)
	}
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// listeners are the TCP addresses that a process listens on, by the kernel's own list.
func listeners(t *testing.T, pid int) []string {
	t.Helper()
	own := map[string]bool{}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(links) == 0 {
		t.Fatalf("descriptors of %d: %d %v", pid, len(links), err)
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, "socket:[") {
			own[strings.Trim(to[len("socket:"):], "[]")] = true
		}
	}
	var found []string
	for _, table := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(b), "\n")[1:] {
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" && own[f[9]] {
				found = append(found, kernelAddress(f[1]))
			}
		}
	}
	return sorted(found)
}

// kernelAddress reads an address as /proc/net/tcp has it: the bytes of an IPv4 address backwards.
func kernelAddress(s string) string {
	host, port, _ := strings.Cut(s, ":")
	p, _ := strconv.ParseUint(port, 16, 16)
	if ip, err := strconv.ParseUint(host, 16, 32); err == nil {
		return fmt.Sprintf("%d.%d.%d.%d:%d", byte(ip), byte(ip>>8), byte(ip>>16), byte(ip>>24), p)
	}
	return fmt.Sprintf("[%s]:%d", host, p)
}

// otherAddresses are this machine's, but for the one that the store is told.
func otherAddresses(t *testing.T) []string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var others []string
	for _, a := range all {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLinkLocalUnicast() && ip.IP.String() != "127.0.0.1" {
			others = append(others, ip.IP.String())
		}
	}
	return others
}
