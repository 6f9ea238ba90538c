//go:build race

package main

// maxMemory is several times as much with the race detector.
const maxMemory = 4 << 30
