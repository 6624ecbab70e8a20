package bustest_test

import (
	"context"

	"github.com/tidings-dev/tidings/bus"
)

// faultsWithoutLog are promises of a backend without a log, broken; they bend the embedded Redis.
var faultsWithoutLog = []fault{
	{"positions are made up", "events of a backend without a log are nowhere", handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
		for i := range d.Events {
			d.Events[i].At.Offset = int64(i)
		}
		return h(ctx, d)
	})},
	{"ranges are made up", "events of a backend without a log are nowhere", handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
		d.Ranges = append(d.Ranges, bus.Range{})
		return h(ctx, d)
	})},
	{"who heard isn't told", "publish says how many heard it", func(f *faulty) {
		f.publish = func(ctx context.Context, topic string, events []bus.Event) error {
			err := f.Bus.Publish(ctx, topic, events...)
			for i := range events {
				events[i].Heard = 0
			}
			return err
		}
	}},
	{"heartbeats come as events", "heartbeats come apart from events", handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
		for _, beat := range d.Heartbeats {
			if e, err := beat.Event(); err == nil {
				d.Events = append(d.Events, e)
			}
		}
		return h(ctx, d)
	})},
	{"only one source's heartbeats come", "heartbeats come apart from events", handling(func(ctx context.Context, d bus.Delivery, h bus.Handler) error {
		d.Heartbeats = d.Heartbeats[:min(1, len(d.Heartbeats))]
		return h(ctx, d)
	})},
	{"a loss is kept quiet", "an outage is told as a loss", subscribing(func(s *bus.Subscription) { s.OnGap = nil })},
	{"a loss under load is kept quiet", "an outage under load is told as a loss", subscribing(func(s *bus.Subscription) { s.OnGap = nil })},
	{"a loss is told twice", "an outage is told as a loss", subscribing(func(s *bus.Subscription) {
		if tell := s.OnGap; tell != nil {
			s.OnGap = func(ctx context.Context, g bus.Gap) {
				tell(ctx, g)
				tell(ctx, g)
			}
		}
	})},
}
