// Package grpcserver is the gRPC server that every service has: health, reflection, limits, one log line for each
// fault, and a stop within a bound.
package grpcserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
)

// BusService is the name under which health tells whether the subscription stands.
const BusService = "bus"

const (
	// maxRequest bounds a request in bytes. The services take ids, prefixes and tokens.
	maxRequest = 1 << 20
	// maxHeaders bounds the headers of a call in bytes.
	maxHeaders = 16 << 10
	// maxStreams bounds the calls of one connection that are answered at once.
	maxStreams = 1000
	// probeEvery is the time between two looks at whether reads can be answered.
	probeEvery = time.Second
	// probeLimit is how long a look may take.
	probeLimit = 5 * time.Second
)

// Config says what a [Server] needs to know of its service.
type Config struct {
	// API is the full name of the service that is served: "directory.v1.DirectoryService".
	API string
	// Log is where faults are logged, each once.
	Log *slog.Logger
	// Readable returns nil while reads can be answered. It is asked every second.
	Readable func(ctx context.Context) error
	// Unavailable reports whether an error of a handler says that the database can't do it just now; nil is
	// never. Such a call is answered UNAVAILABLE, with a RetryInfo.
	Unavailable func(err error) bool
	// Grace is how long [Server.Run] lets calls in hand go on when it is to stop; 0 is 3 s.
	Grace time.Duration
}

// Server is a gRPC server. Register services before Run; SetBus may be called from anywhere at any time.
//
// It answers standard health: "" and Config.API are SERVING while reads can be answered, [BusService] while the
// subscription stands. The two have nothing to do with one another: reads go on when the broker is away.
type Server struct {
	cfg    Config
	lis    net.Listener
	grpc   *grpc.Server
	health *health.Server
	bus    atomic.Bool
}

// New makes a server that will answer on lis, which is the server's from now on.
func New(lis net.Listener, cfg Config) *Server {
	if cfg.Grace == 0 {
		cfg.Grace = 3 * time.Second
	}
	s := &Server{cfg: cfg, lis: lis, health: health.NewServer()}
	s.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(maxRequest), grpc.MaxHeaderListSize(maxHeaders), grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(s.unary), grpc.ChainStreamInterceptor(s.stream),
	)
	healthpb.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	s.setReadable(false)
	s.SetBus(false)
	return s
}

// RegisterService makes s a [grpc.ServiceRegistrar], for the generated Register functions.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.grpc.RegisterService(desc, impl)
}

// Address is where the server listens, with the port that the system has chosen where none was given.
func (s *Server) Address() string { return s.lis.Addr().String() }

// SetBus tells whether the subscription stands; at first it does not.
func (s *Server) SetBus(standing bool) {
	s.bus.Store(standing)
	s.health.SetServingStatus(BusService, servingStatus(standing))
}

// Bus returns what SetBus was told last.
func (s *Server) Bus() bool { return s.bus.Load() }

// Close gives the address back, for a server that was never run. After Run it does nothing.
func (s *Server) Close() { s.grpc.Stop(); _ = s.lis.Close() }

// Run serves until ctx ends, then says NOT_SERVING, takes no more calls, lets those in hand finish within
// Config.Grace, and ends the rest. It returns nil then, or the error for which serving has failed, and leaves
// nothing running. Call it once.
func (s *Server) Run(ctx context.Context) error {
	s.setReadable(s.probe(ctx) == nil)
	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work.Go(func() { s.watch(ctx) })
	work.Go(func() {
		<-ctx.Done()
		s.stop()
	})
	if err := s.grpc.Serve(s.lis); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("grpcserver: serve on %s: %w", s.Address(), err)
	}
	return nil
}

// stop ends the server within Grace.
func (s *Server) stop() {
	s.health.Shutdown()
	hard := time.AfterFunc(s.cfg.Grace, s.grpc.Stop)
	defer hard.Stop()
	s.grpc.GracefulStop() // returns once Stop has been called, too
}

// watch keeps health in step with whether reads can be answered, until ctx ends.
func (s *Server) watch(ctx context.Context) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	var was error
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.probe(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case err != nil && was == nil:
			s.cfg.Log.ErrorContext(ctx, "reads can't be answered", "err", err)
		case err == nil && was != nil:
			s.cfg.Log.InfoContext(ctx, "reads can be answered again")
		}
		s.setReadable(err == nil)
		was = err
	}
}

func (s *Server) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	return s.cfg.Readable(ctx)
}

func (s *Server) setReadable(readable bool) {
	for _, name := range []string{"", s.cfg.API} {
		s.health.SetServingStatus(name, servingStatus(readable))
	}
}

func servingStatus(serving bool) healthpb.HealthCheckResponse_ServingStatus {
	if serving {
		return healthpb.HealthCheckResponse_SERVING
	}
	return healthpb.HealthCheckResponse_NOT_SERVING
}
