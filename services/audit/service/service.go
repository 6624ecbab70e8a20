package service

import (
	"context"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/inbox"
	auditv1 "github.com/tidings-dev/tidings/gen/audit/v1"
	"github.com/tidings-dev/tidings/services/audit/internal/store"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/program"
)

// DefaultListen is where gRPC is served unless told otherwise.
const DefaultListen = "127.0.0.1:8483"

// group is who reads, as its database knows it.
const group = "audit"

// Config is what the audit is told, by flags or by `tidings up`.
type Config struct {
	config.Common
	// GapWait is how long missing versions are waited for; 0 is what suits the bus: see [inbox.Config].
	GapWait time.Duration `help:"How long to wait for a user's missing events before their loss goes on record; 0 is a minute, and 5 seconds on a bus that keeps nothing." default:"0s"`
}

// Validate reports what kong can't know to be wrong.
func (c *Config) Validate() error {
	if c.GapWait < 0 {
		return config.Usage("--gap-wait %v: pass a time above 0, such as 1m, or 0 for what suits the bus", c.GapWait)
	}
	return nil
}

// Main runs the audit as a program of its own.
func Main(ctx context.Context, in program.IO) error {
	var cfg Config
	d := config.Defaults{
		Service: "audit", Listen: DefaultListen,
		Description: "Answers what became of each user, and when, from every event that the users service has told.",
	}
	return lifecycle.Main(ctx, in, d, &cfg, backends.Open, func(env lifecycle.Env) lifecycle.Service { return New(cfg, env) })
}

// New makes the audit; `tidings up` does so too, with a Config that it fills in.
func New(cfg Config, env lifecycle.Env) *lifecycle.Runner {
	return lifecycle.New(lifecycle.Spec{
		Name: "audit", API: auditv1.AuditService_ServiceDesc.ServiceName,
		Config: cfg.Common, Migrations: store.Migrations,
		Build:   func(_ context.Context, p *lifecycle.Parts) error { return build(cfg, p) },
		Unheard: "it is counted, and is a hole in the user's history, shown from the next event of that user on",
	}, env)
}

// build puts the service together; nothing of it waits for the broker.
func build(cfg Config, p *lifecycle.Parts) error {
	st := store.New(p.DB)
	in, err := inbox.New(inbox.Config{
		Group: group, Topics: []string{cfg.Topic}, Sources: []string{usersSource}, DB: p.DB.DB, Gaps: inbox.Every, GapWait: cfg.GapWait,
		Logger: p.Log, OnReady: p.GRPC.SetBus, OnGap: p.OnGap,
	}, inbox.Any(record(st)))
	if err != nil {
		return err
	}
	auditv1.RegisterAuditServiceServer(p.GRPC, &server{store: st, holes: in})
	p.Consume(in)
	p.OnStatus(func(ctx context.Context, s *lifecycle.Status) (err error) {
		s.Count, err = st.Count(ctx)
		return err
	})
	return nil
}

// record takes events into the store, a batch at a time, without looking into them.
func record(st *store.Store) func(context.Context, inbox.Tx, []bus.Event) error {
	return func(ctx context.Context, tx inbox.Tx, batch []bus.Event) error {
		events := make([]store.Event, len(batch))
		for i, e := range batch {
			events[i] = store.Event{
				UserID: e.Key, Place: store.Place{Version: e.Version, Source: e.Source, EventID: e.ID},
				Type: e.Type, Time: e.Time, DataType: e.DataType, Data: e.Data, Extensions: e.Ext,
			}
		}
		return st.Append(ctx, tx, events)
	}
}
