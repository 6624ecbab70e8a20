package service

import (
	"context"

	"github.com/tidings-dev/tidings/bus/inbox"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	"github.com/tidings-dev/tidings/services/directory/internal/store"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/program"
)

// DefaultListen is where gRPC is served unless told otherwise.
const DefaultListen = "127.0.0.1:8482"

// group is who reads, as its database knows it.
const group = "directory"

// Config is what the directory is told, by flags or by `tidings up`.
type Config struct{ config.Common }

// Main runs the directory as a program of its own.
func Main(ctx context.Context, in program.IO) error {
	var cfg Config
	d := config.Defaults{
		Service: "directory", Listen: DefaultListen,
		Description: "Answers who people are, by id, address or name, from its own copy of what the users service tells.",
	}
	return lifecycle.Main(ctx, in, d, &cfg, backends.Open, func(env lifecycle.Env) lifecycle.Service { return New(cfg, env) })
}

// New makes the directory; `tidings up` does so too, with a Config that it fills in.
func New(cfg Config, env lifecycle.Env) *lifecycle.Runner {
	return lifecycle.New(lifecycle.Spec{
		Name: "directory", API: directoryv1.DirectoryService_ServiceDesc.ServiceName,
		Config: cfg.Common, Migrations: store.Migrations,
		Build:   func(_ context.Context, p *lifecycle.Parts) error { return build(cfg, p) },
		Unheard: "it is counted, and the person is out of date, or unknown, until the next event about them",
	}, env)
}

// maxBatch bounds the events of a transaction. Twice the default: the terms of more people share the pages that are
// written, and one of this size still takes no longer than a tenth of a second.
const maxBatch = 2000

// build puts the service together; nothing of it waits for the broker.
func build(cfg Config, p *lifecycle.Parts) error {
	st := store.New(p.DB)
	in, err := inbox.New(inbox.Config{
		Group: group, Topics: []string{cfg.Topic}, Sources: []string{usersSource}, DB: p.DB.DB, Gaps: inbox.Newest, MaxBatch: maxBatch,
		Logger: p.Log, OnReady: p.GRPC.SetBus, OnGap: p.OnGap,
	}, route(st))
	if err != nil {
		return err
	}
	directoryv1.RegisterDirectoryServiceServer(p.GRPC, &server{store: st, inbox: in})
	p.Consume(in)
	p.OnStatus(func(ctx context.Context, s *lifecycle.Status) (err error) {
		s.Count, err = st.Count(ctx)
		return err
	})
	return nil
}
