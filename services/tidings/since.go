package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/inbox"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/config"
)

// askTime bounds how long the bus is asked.
const askTime = 15 * time.Second

// since says where --since is in the log of the service, but for the partitions that it reads on from before that.
func (c *rewindCommand) since(ctx context.Context, db *sql.DB) (to []bus.Position, err error) {
	at, err := momentOf(c.Since, time.Now())
	if err != nil {
		return nil, err
	}
	now, err := inbox.Positions(ctx, db, c.Service)
	if err != nil {
		return nil, err
	}
	url := c.Bus
	if url == "kafka" {
		url = config.EmbeddedKafka
	}
	b, err := backends.Open(ctx, url, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close(context.WithoutCancel(ctx))) }()
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	found, err := positionsAt(ctx, b, at, topicsOf(now))
	if err != nil {
		return nil, fmt.Errorf("--since: the bus %s can't be asked; pass its address with --bus, or a place with --to: %w", config.Redact(url), err)
	}
	return earlier(found, now), nil
}

func topicsOf(positions []bus.Position) (topics []string) {
	for _, p := range positions {
		topics = append(topics, p.Topic)
	}
	return slices.Compact(topics) // they are in order
}

// earlier are those of found that lie before what is read on from now.
func earlier(found, now []bus.Position) (to []bus.Position) {
	for _, p := range now {
		i := slices.IndexFunc(found, func(f bus.Position) bool { return f.Topic == p.Topic && f.Partition == p.Partition })
		if i >= 0 && found[i].Offset < p.Offset {
			to = append(to, bus.Position{Topic: p.Topic, Partition: p.Partition, Offset: found[i].Offset})
		}
	}
	return to
}

// positionsAt asks a bus where in its logs a time is. It begins a subscription, which asks back where to read on before
// it has joined any group, and tells where a new one would start; then it is ended.
func positionsAt(ctx context.Context, b bus.Bus, t time.Time, topics []string) (found []bus.Position, err error) {
	asking, enough := context.WithCancel(ctx)
	defer enough()
	err = b.Subscribe(asking, bus.Subscription{
		Group: "tidings.rewind", Topics: topics, Start: bus.Since(t), Require: bus.Guarantees{Durable: true},
		Resume: func(_ context.Context, parts []bus.Partition) ([]int64, error) {
			defer enough()
			for _, p := range parts {
				found = append(found, p.Position)
			}
			return nil, context.Canceled
		},
	}, func(context.Context, bus.Delivery) error { return bus.Permanent(errors.New("nothing is to be read")) })
	switch {
	case err != nil:
		return nil, err
	case found == nil && ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return found, nil
}
