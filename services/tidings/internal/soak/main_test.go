package soak

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests, or, in a child that a run has started, one of its programs.
func TestMain(m *testing.M) {
	if code, yes := Program(); yes {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}
