//go:build race

package ledger

// moreAllocated is how many times as much is allocated with the race detector,
// which has pools forget.
const moreAllocated = 32
