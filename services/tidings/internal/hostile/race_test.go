//go:build race

package hostile

// raceFactor is how much more memory the race detector needs.
const raceFactor = 8
