//go:build !race

package hostile

// raceFactor is for the race detector, which needs more memory, and is not there.
const raceFactor = 1
