package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/grpcserver"
	"github.com/tidings-dev/tidings/services/internal/program"
)

// DefaultStopTimeout is how long a service may take to stop: a program has to be gone 10 s after the signal.
const DefaultStopTimeout = 8 * time.Second

// closeLimit is how long the bus may take to close, once everything that used it has ended.
const closeLimit = 1500 * time.Millisecond

// OpenBus opens the bus that url names, as [bus.Open] does.
type OpenBus func(ctx context.Context, url string, log *slog.Logger) (bus.Bus, error)

// Env is what a service needs of the program that it is in.
type Env struct {
	Log     *slog.Logger
	OpenBus OpenBus
}

// Spec is what is a service's own. All but StopTimeout must be set.
type Spec struct {
	Name string // "directory"
	// API is the full name of its gRPC service: directoryv1.DirectoryService_ServiceDesc.ServiceName.
	API    string
	Config config.Common
	// Migrations are the store's, as [database.DB.Migrate] takes them.
	Migrations fs.FS
	// Build puts the service together at each Run. It must not start anything by itself, but by [Parts.Go].
	Build func(ctx context.Context, p *Parts) error
	// StopTimeout is how long everything that runs may take to stop; 0 is DefaultStopTimeout.
	StopTimeout time.Duration
}

// Runner is a [Service] made of a [Spec]. It is safe for concurrent use.
type Runner struct {
	spec Spec
	env  Env

	mu    sync.Mutex
	state State
	err   error  // of the last Run
	parts *Parts // while Serving
}

var _ Service = (*Runner)(nil)

// New makes a service. Nothing is opened before Run.
func New(spec Spec, env Env) *Runner {
	if spec.StopTimeout == 0 {
		spec.StopTimeout = DefaultStopTimeout
	}
	env.Log = env.Log.With("service", spec.Name)
	return &Runner{spec: spec, env: env, state: Stopped}
}

// Name returns Spec.Name.
func (r *Runner) Name() string { return r.spec.Name }

// Run runs the service: see [Service] and the package's documentation. A second Run at the same time is an error.
func (r *Runner) Run(ctx context.Context, ready func(Info)) error {
	if !r.begin() {
		return errors.New("lifecycle: it is running already")
	}
	err := r.run(ctx, ready)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil // stopped while it was starting
	}
	r.end(err)
	return err
}

func (r *Runner) run(ctx context.Context, ready func(Info)) error {
	p, err := r.start(ctx)
	if err != nil {
		return errors.Join(err, p.close(closeLimit))
	}
	serve := program.Component{Name: "gRPC", Run: func(ctx context.Context) error {
		r.serving(p)
		ready(p.info)
		return p.GRPC.Run(ctx)
	}}
	// Whoever asks for the status from the stop on must not meet a database that is being closed.
	unhook := context.AfterFunc(ctx, r.stopping)
	defer unhook()
	err = program.Run(ctx, r.spec.StopTimeout, append(p.components, serve)...)
	r.stopping()
	if late := (*program.StopError)(nil); errors.As(err, &late) {
		return err // something still uses the rest
	}
	return errors.Join(err, p.close(closeLimit))
}

// start makes the parts, in order. What it returns with an error is to be closed too.
func (r *Runner) start(ctx context.Context) (p *Parts, err error) {
	p = &Parts{Log: r.env.Log}
	if p.DB, err = database.Open(ctx, r.spec.Config.DB, p.Log); err != nil {
		return p, err
	}
	if err := p.DB.Migrate(ctx, r.spec.Migrations); err != nil {
		return p, err
	}
	if p.Bus, err = r.env.OpenBus(ctx, r.spec.Config.Bus, p.Log); err != nil {
		return p, err
	}
	lis, err := config.Listen(ctx, "--listen", r.spec.Config.Listen)
	if err != nil {
		return p, err
	}
	p.GRPC = grpcserver.New(lis, grpcserver.Config{
		API: r.spec.API, Log: p.Log, Readable: p.DB.Readable, Unavailable: database.IsUnavailable,
	})
	p.info.Address = p.GRPC.Address()
	if err := r.spec.Build(ctx, p); err != nil {
		return p, fmt.Errorf("start: %w", err)
	}
	return p, nil
}

// begin takes the Runner from rest to Starting, and reports whether it was at rest.
func (r *Runner) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state != Stopped && r.state != Failed {
		return false
	}
	r.state, r.err = Starting, nil
	return true
}

func (r *Runner) serving(p *Parts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.parts = Serving, p
}

func (r *Runner) stopping() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.parts = Stopping, nil
}

func (r *Runner) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.parts, r.err = Stopped, nil, err
	if err != nil {
		r.state = Failed
	}
}

// now returns the state of this moment, and the parts while Serving.
func (r *Runner) now() (Status, *Parts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Status{Service: r.spec.Name, State: r.state, Lag: UnknownLag}
	if r.err != nil {
		s.Error = r.err.Error()
	}
	return s, r.parts
}

// Status says how the service stands; see [Service].
func (r *Runner) Status(ctx context.Context) (Status, error) {
	s, p := r.now()
	if p == nil {
		return s, nil
	}
	s.Info, s.Bus, s.Guarantees = p.info, p.GRPC.Bus(), p.Bus.Guarantees().String()
	for _, fill := range p.status {
		if err := fill(ctx, &s); err != nil {
			if later, still := r.now(); still == nil {
				return later, nil // it was stopped meanwhile, which is no fault
			}
			return s, fmt.Errorf("lifecycle: status of %s: %w", s.Service, err)
		}
	}
	return s, nil
}
