package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidings-dev/tidings/bus/outbox"
	usersv1 "github.com/tidings-dev/tidings/gen/users/v1"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/users/internal/door"
	"github.com/tidings-dev/tidings/services/users/internal/store"
)

// DefaultDoor and DefaultListen are where the service listens unless told otherwise.
const (
	DefaultDoor   = "127.0.0.1:8480"
	DefaultListen = "127.0.0.1:8481"
)

// Config is what the users service is told, by flags or by `tidings up`.
type Config struct {
	config.Common
	// Door is where the write door listens.
	Door string `help:"Where users are written over HTTP." default:"127.0.0.1:8480" placeholder:"HOST:PORT"`
	// OutboxKeep is how long an event stays in the outbox after it was sent; 0, which no flag gives, is 7 days.
	OutboxKeep time.Duration `help:"How long an event that was sent is kept, so that a log that lost it can be given it again." default:"168h"`
	// Events is in which versions a change is told.
	Events Events `help:"Versions of the events that tell of a change, best first: v1, v2,v1 or v2. With v2,v1 each change has an event of both, for as long as there are readers of v1 alone (default ${default})." default:"v1" placeholder:"VERSIONS"`
}

// Validate reports what the flags' types can't know to be wrong.
func (c *Config) Validate() error {
	if c.OutboxKeep <= 0 {
		return config.Usage("--outbox-keep %v: pass more than 0", c.OutboxKeep)
	}
	return c.Events.Check()
}

// Main runs the users service as a program of its own.
func Main(ctx context.Context, in program.IO) error {
	var cfg Config
	d := config.Defaults{Service: "users", Listen: DefaultListen, Description: "Owns users: takes writes over HTTP, answers reads over gRPC, and tells of every change by an event."}
	return lifecycle.Main(ctx, in, d, &cfg, backends.Open, func(env lifecycle.Env) lifecycle.Service { return New(cfg, env) })
}

// New makes the users service, which `tidings up` does too. Nothing is opened before its Run, which can be called again
// after it has returned.
func New(cfg Config, env lifecycle.Env) *lifecycle.Runner {
	return lifecycle.New(lifecycle.Spec{
		Name: "users", API: usersv1.UserService_ServiceDesc.ServiceName,
		Config: cfg.Common, Migrations: store.Migrations,
		Build:   func(ctx context.Context, p *lifecycle.Parts) error { return build(ctx, cfg, p) },
		Unheard: "it is sent once and counted where nobody at all was listening; whoever was down is not told again",
	}, env)
}

// build puts the service together; nothing of it waits for the broker.
func build(ctx context.Context, cfg Config, p *lifecycle.Parts) error {
	stream := outbox.WithStream
	if none, err := store.NeverUsed(ctx, p.DB); err != nil {
		return err
	} else if none {
		stream = outbox.WithNewStream
	}
	opts := []outbox.Option{outbox.WithLogger(p.Log), stream(cfg.Topic, store.Source)}
	if cfg.OutboxKeep != 0 {
		opts = append(opts, outbox.WithKeep(cfg.OutboxKeep))
	}
	ob, err := outbox.New(ctx, p.DB.DB, opts...)
	if err != nil {
		return err
	}
	st, err := store.New(ctx, store.Config{DB: p.DB, Outbox: ob, Topic: cfg.Topic, Events: cfg.Events.orDefault()})
	if err != nil {
		return err
	}
	w, err := newWatch(ctx, cfg, p, st, ob)
	if err != nil {
		return err
	}
	l, err := p.Listen(ctx, "--door", cfg.Door)
	if err != nil {
		return err
	}
	p.SetDoor(l.Addr().String())
	usersv1.RegisterUserServiceServer(p.GRPC, &server{store: st})
	p.Publishes(cfg.Events.types()...)
	// The door is the first to stop, so that the relay may still send what the last requests wrote.
	p.Go("bus health", w.run)
	p.Go("relay", func(ctx context.Context) error { return ob.Relay(ctx, w.bus) })
	p.Go("door", func(ctx context.Context) error { return door.New(st, p.Log).Serve(ctx, l) })
	p.OnStatus(func(ctx context.Context, s *lifecycle.Status) error { return fillStatus(ctx, s, st, ob, w) })
	return nil
}

// fillStatus says what `tidings status` compares with what the others have applied. It is asked for twice a second, so
// its cost doesn't grow with the number of users.
func fillStatus(ctx context.Context, s *lifecycle.Status, st *store.Store, ob *outbox.Outbox, w *watch) error {
	totals, err := st.Totals(ctx)
	if err != nil {
		return err
	}
	held, err := ob.Status(ctx)
	if err != nil {
		return err
	}
	s.Count, s.Keys, s.Versions, s.Lag = totals.Live, totals.Live+totals.Deleted, totals.Versions, 0
	s.Outbox = &lifecycle.Outbox{Unsent: held.Pending, Unheard: held.Unheard}
	// A refusal is handed back by the bus, and not logged; of a time that has run out its log knows the cause.
	if fault := w.bus.fault(time.Now()); !s.Bus && fault != nil && (s.BusError == "" || !errors.Is(fault, context.DeadlineExceeded)) {
		s.BusError = reason(fault)
	}
	numbers(s, held.Streams)
	if note := w.note(); note != "" {
		s.Notes = append(s.Notes, note)
	}
	if note := lacking(held); note != "" {
		s.Notes = append(s.Notes, note)
	}
	if held.Failed > 0 {
		s.Notes = append(s.Notes, fmt.Sprintf("%d events can't be sent, ever, and nobody else will hear of these changes: %s", held.Failed, held.FailedError))
	}
	return nil
}

// numbers says how far the events are numbered, which they are on a bus that keeps no log.
func numbers(s *lifecycle.Status, streams []outbox.Stream) {
	if s.KeepsLog {
		return
	}
	for _, at := range streams {
		s.Streams = append(s.Streams, lifecycle.Stream{Topic: at.Topic, Source: at.Source, Log: at.SeqLog, Seq: at.Seq})
		s.Seq += at.Seq
	}
}
