//go:build !race

package ledger

const moreAllocated = 1
