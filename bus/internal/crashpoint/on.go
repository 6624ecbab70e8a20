//go:build tidings_crash

package crashpoint

import (
	"fmt"
	"os"
	"sync/atomic"
)

// trap is the point at which this process ends.
type trap struct {
	point   string
	passing int64
	passed  atomic.Int64
}

// armed is nil where the environment names no point. It is set before main runs: a mistyped point must end the process,
// for a test that kills nothing would pass.
var armed = arm(os.Getenv(Variable))

func arm(setting string) *trap {
	if setting == "" {
		return nil
	}
	point, passing, err := Parse(setting)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return &trap{point: point, passing: passing}
}

// Pass ends the process if it was to end here.
func Pass(point string) {
	if armed == nil || armed.point != point || armed.passed.Add(1) != armed.passing {
		return
	}
	fmt.Fprintf(os.Stderr, "crashpoint: killed at %s, passing %d\n", point, armed.passing)
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill() // it leaves nobody to tell
	}
	select {} // nothing more is done while the signal is on its way
}
