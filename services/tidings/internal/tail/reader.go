package tail

import (
	"context"
	"io"
	"os"
	"sync"
	"time"
)

// lookEvery is how often it is looked whether anybody still reads what is printed.
const lookEvery = 250 * time.Millisecond

// whileRead returns a context that ends with errEnough when nobody reads out any more, as behind a pipe into head: with
// no event to print, no write would ever tell. Call stop when done, which waits.
func whileRead(ctx context.Context, out io.Writer) (reading context.Context, stop func()) {
	reading, cancel := context.WithCancelCause(ctx)
	f, ok := out.(*os.File)
	if !ok {
		return reading, func() { cancel(nil) }
	}
	var watching sync.WaitGroup
	watching.Go(func() {
		ticks := time.NewTicker(lookEvery)
		defer ticks.Stop()
		for {
			select {
			case <-reading.Done():
				return
			case <-ticks.C:
			}
			if nobodyReads(f) {
				cancel(errEnough)
				return
			}
		}
	})
	return reading, func() { cancel(nil); watching.Wait() }
}
