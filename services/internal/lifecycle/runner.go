package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/grpcserver"
	"github.com/tidings-dev/tidings/services/internal/program"
)

// A program has to be gone 10 s after the signal, and `tidings up` has its broker and its doors to close in that time
// too: so a service has the sum of these two.
const (
	// DefaultStopTimeout is how long what runs in a service may take to stop.
	DefaultStopTimeout = 6 * time.Second
	// CloseTimeout is how long the bus may take to close, once everything that used it has ended.
	CloseTimeout = 1500 * time.Millisecond
)

// OpenBus opens the bus that url names, as [bus.Open] does.
type OpenBus func(ctx context.Context, url string, log *slog.Logger) (bus.Bus, error)

// Env is what a service needs of the program that it is in. Log and OpenBus must be set.
type Env struct {
	Log     *slog.Logger
	OpenBus OpenBus
	// ListenFlag is the flag that Config.Listen came from, for the error of an address in use; empty is --listen.
	ListenFlag string
	// Explain, unless nil, turns the error of a Run into what this program's users can act on: its own flags and
	// commands. What it returns is Run's error, and Status.Error.
	Explain func(error) error
	// OnChange, unless nil, is told of every change of State, one after another in their order, the last one before
	// Run returns. The Status has no more than Service, State, Info, Error and what the bus promises. The service goes on when OnChange
	// returns, so it should not block, and must not wait for the service; it may ask for its Status.
	OnChange func(Status)
}

// DatabaseError is the error of a Run whose database can't be opened or migrated. It reads as Err does.
type DatabaseError struct {
	DB       string // as it was configured
	KeepsLog bool   // the bus keeps a log, from which the database of a reader can be filled again
	Err      error
}

// Error returns Err's text.
func (e *DatabaseError) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *DatabaseError) Unwrap() error { return e.Err }

// Spec is what is a service's own. All but Unheard and StopTimeout must be set.
type Spec struct {
	Name string // "directory"
	// API is the full name of its gRPC service: directoryv1.DirectoryService_ServiceDesc.ServiceName.
	API    string
	Config config.Common
	// Migrations are the store's, as [database.DB.Migrate] takes them.
	Migrations fs.FS
	// Build puts the service together at each Run. It must not start anything by itself, but by [Parts.Go].
	Build func(ctx context.Context, p *Parts) error
	// Unheard says what becomes of an event that this service does not hear, in a few words. It is logged at start on
	// a bus that keeps no log.
	Unheard string
	// StopTimeout is how long everything that runs may take to stop; 0 is DefaultStopTimeout.
	StopTimeout time.Duration
}

// Runner is a [Service] made of a [Spec]. It is safe for concurrent use.
type Runner struct {
	spec Spec
	env  Env

	changing sync.Mutex // held while OnChange is told, so that it hears of one change after another

	mu      sync.Mutex // guards the rest; held for moments only
	state   State
	err     error   // of the last Run
	parts   *Parts  // while Serving
	promise promise // of the bus, as it was when last looked at
}

var _ Service = (*Runner)(nil)

// New makes a service. Nothing is opened before Run.
func New(spec Spec, env Env) *Runner {
	if spec.StopTimeout == 0 {
		spec.StopTimeout = DefaultStopTimeout
	}
	if env.ListenFlag == "" {
		env.ListenFlag = "--listen"
	}
	if env.Explain == nil {
		env.Explain = func(err error) error { return err }
	}
	if env.OnChange == nil {
		env.OnChange = func(Status) {}
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
	if err != nil {
		err = r.env.Explain(err)
	}
	r.end(err)
	return err
}

func (r *Runner) run(ctx context.Context, ready func(Info)) error {
	p, err := r.start(ctx)
	if err != nil {
		return errors.Join(err, p.close(CloseTimeout))
	}
	serve := program.Component{Name: "gRPC", Run: func(ctx context.Context) error {
		r.serving(p)
		ready(p.info)
		return p.GRPC.Run(ctx)
	}}
	// Whoever asks for the status from the stop on must not meet a database that is being closed.
	unhook := context.AfterFunc(ctx, func() { r.stopping(p) })
	defer unhook()
	err = program.Run(ctx, r.spec.StopTimeout, slices.Concat(r.announcing(p), p.components, []program.Component{serve})...)
	r.stopping(p)
	if late := (*program.StopError)(nil); errors.As(err, &late) {
		return err // something still uses the rest
	}
	return errors.Join(err, p.close(CloseTimeout))
}

// start makes the parts, in order. What it returns with an error is to be closed too.
func (r *Runner) start(ctx context.Context) (p *Parts, err error) {
	p = &Parts{Log: r.env.Log}
	// The bus first: a mistake in its address is to leave no database behind.
	if p.Bus, err = r.env.OpenBus(ctx, r.spec.Config.Bus, p.busFault.logger(p.Log)); err != nil {
		return p, err
	}
	promised := promiseOf(p.Bus)
	if err := r.openDatabase(ctx, p); err != nil {
		return p, &DatabaseError{DB: r.spec.Config.DB, KeepsLog: promised.keepsLog, Err: err}
	}
	lis, err := config.Listen(ctx, r.env.ListenFlag, r.spec.Config.Listen)
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
	if !promised.keepsLog {
		r.warn(ctx, p, promised)
	}
	return p, nil
}

// warn says what a bus without a log means to this service. What such a bus lacks is a warning of the inbox where there is
// one, and one is enough.
func (r *Runner) warn(ctx context.Context, p *Parts, promised promise) {
	level, attrs := slog.LevelInfo, []slog.Attr{slog.String("unheard", r.spec.Unheard)}
	if !p.consumes {
		level, attrs = slog.LevelWarn, append(attrs, slog.String("without", promised.without))
	}
	p.Log.LogAttrs(ctx, level, "this bus keeps nothing for a service that is down or new: what it does not hear, it never gets", attrs...)
}

func (r *Runner) openDatabase(ctx context.Context, p *Parts) (err error) {
	if p.DB, err = database.Open(ctx, r.spec.Config.DB, p.Log, database.ForService(r.spec.Name)); err != nil {
		return err
	}
	return p.DB.Migrate(ctx, r.spec.Migrations)
}

// change makes a change of state under the lock, and tells of it after, unless change reports that there was none.
func (r *Runner) change(change func() bool) bool {
	r.changing.Lock()
	defer r.changing.Unlock()
	r.mu.Lock()
	changed := change()
	r.mu.Unlock()
	if changed {
		s, _ := r.now()
		r.env.OnChange(s)
	}
	return changed
}

// begin takes the Runner from rest to Starting, and reports whether it was at rest.
func (r *Runner) begin() bool {
	return r.change(func() bool {
		if r.state != Stopped && r.state != Failed {
			return false
		}
		r.state, r.err = Starting, nil
		return true
	})
}

func (r *Runner) serving(p *Parts) {
	promised := promiseOf(p.Bus)
	r.change(func() bool {
		r.state, r.parts, r.promise = Serving, p, promised
		return true
	})
}

// stopping ends the serving of p; later calls, which may come after the end of p's Run, do nothing.
func (r *Runner) stopping(p *Parts) {
	r.change(func() bool {
		if r.parts != p {
			return false
		}
		r.state, r.parts = Stopping, nil
		return true
	})
}

func (r *Runner) end(err error) {
	r.change(func() bool {
		r.state, r.parts, r.err = Stopped, nil, err
		if err != nil {
			r.state = Failed
		}
		return true
	})
}

// now returns the state of this moment, and the parts while Serving.
func (r *Runner) now() (Status, *Parts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Status{Service: r.spec.Name, State: r.state, Lag: UnknownLag}
	r.promise.fill(&s)
	if r.err != nil {
		s.Error = r.err.Error()
	}
	if r.parts != nil {
		s.Info = r.parts.info
	}
	return s, r.parts
}

// Status says how the service stands; see [Service].
func (r *Runner) Status(ctx context.Context) (Status, error) {
	s, p := r.now()
	if p == nil {
		return s, nil
	}
	if s.Bus = p.GRPC.Bus(); !s.Bus {
		s.BusError = p.busFault.get()
	}
	s.Guarantees, s.Without = words(p.Bus.Guarantees()) // they can shrink once the topics are known
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
