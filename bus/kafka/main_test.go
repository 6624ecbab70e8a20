package kafka_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// apart is set where a test runs in a process of its own, because it leaves something behind.
const apart = "TIDINGS_TEST_APART"

// TestMain fails the run when a goroutine is left behind by any test.
func TestMain(m *testing.M) {
	if os.Getenv(apart) != "" {
		os.Exit(m.Run())
	}
	// Sarama, which the CloudEvents SDK sends and reads by, counts by a library whose clock nothing stops.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}
