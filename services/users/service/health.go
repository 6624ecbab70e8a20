package service

import (
	"context"
	"errors"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

const (
	// lookEvery is the time between two looks at the broker, and lookLimit how long one may take.
	lookEvery = 2 * time.Second
	lookLimit = 2 * time.Second
)

// watchBus tells whether the broker can be reached, until ctx ends. An owner has no subscription of its own to go by,
// and an outbox with nothing in it says nothing: so the broker is asked. A bus without a log has nobody to ask, and
// counts as standing.
func watchBus(ctx context.Context, b bus.Bus, topic string, tell func(standing bool)) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		err := look(ctx, b, topic)
		if ctx.Err() != nil {
			return nil
		}
		tell(err == nil || errors.Is(err, errors.ErrUnsupported))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func look(ctx context.Context, b bus.Bus, topic string) error {
	in, ok := b.(bus.Inspector)
	if !ok {
		return errors.ErrUnsupported
	}
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	_, err := in.Partitions(ctx, topic)
	return err
}
