//go:build !race

package main

// maxMemory is what the store may ever have taken, with all hostile clients at it.
const maxMemory = 512 << 20
