package kafka_test

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// apart is set where a test runs in a process of its own, because it leaves something behind.
const apart = "TIDINGS_TEST_APART"

// atOnce lets more tests run at a time than there are processors, unless somebody has said how many: most of their time
// they wait for the timers of groups and sessions.
func atOnce() {
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if !said {
		_ = flag.Set("test.parallel", "6") // it is a flag, and a number
	}
}

// TestMain fails the run when a goroutine is left behind by any test.
func TestMain(m *testing.M) {
	flag.Parse()
	atOnce()
	if os.Getenv(apart) != "" {
		os.Exit(m.Run())
	}
	// Sarama, which the CloudEvents SDK sends and reads by, counts by a library whose clock nothing stops.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}
