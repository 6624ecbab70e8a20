package sqldb

import (
	"testing"

	"go.uber.org/goleak"
)

// A writer has no goroutines of its own.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
