package main

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"testing"
)

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakMemory is the most memory that the store's process ever had (VmHWM); 0
// where there is no /proc.
func (n *node) peakMemory(t *testing.T) int64 {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := highWater.FindSubmatch(b)
	if m == nil {
		t.Fatal("the store has ended")
	}
	kB, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kB << 10
}
