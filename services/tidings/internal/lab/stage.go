package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	directory "github.com/tidings-dev/tidings/services/directory/service"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/tidings/internal/platform"
)

// freePort is where everything listens.
const freePort = "127.0.0.1:0"

// The services of the experiment; the others of the platform stay stopped.
const (
	owner  = "users"
	reader = "directory"
)

// unannounced keeps a service from making a topic that nobody would remove.
const unannounced = "--no-announce"

// stage is what the experiment on one bus takes place on.
type stage struct {
	kind
	cfg      Config
	dir      string
	topic    string // nobody else's: a Redis has its channels in common for all
	platform *platform.Platform
	newcomer *guest // nil before it is started
	words    *lastWords
	reached  bool   // the server has answered a service
	doing    string // what is being done, for an error: "directory was started again"
	written  int    // users so far
}

// topics is what the names of all topics of the lab begin with.
const topics = "tidings-lab-"

func newTopic() string { return topics + strings.ToLower(rand.Text()[:12]) }

func newStage(ctx context.Context, k kind, cfg Config, dir string) (*stage, error) {
	s := &stage{kind: k, cfg: cfg, dir: dir, topic: newTopic(), words: &lastWords{}}
	var err error
	// The platform tells the kinds of bus apart by their folders, so all can have the same one above.
	s.platform, err = platform.New(ctx, platform.Config{
		Bus: k.address(cfg), Broker: freePort, Data: dir, Topic: s.topic, Door: freePort,
		Users: freePort, Directory: freePort, Audit: freePort, Mailer: freePort, Log: slog.New(s.words),
		More: map[string][]string{owner: {unannounced}, reader: {unannounced}},
	})
	return s, err
}

// leaves is what would be left if the process ended now.
func (s *stage) leaves() string {
	if url := s.real(s.cfg); url != "" && s.remove != nil {
		return fmt.Sprintf("the folder %s, and the topic %s on %s", s.dir, s.topic, config.Redact(url))
	}
	return "the folder " + s.dir
}

// startNewcomer starts a directory that nobody has ever told anything, and returns once it serves.
func (s *stage) startNewcomer(ctx context.Context) error {
	url := s.real(s.cfg)
	if url == "" {
		url = s.platform.Report(ctx).Bus.URL // which hides secrets, and here are none
	}
	common := config.Common{Bus: url, DB: filepath.Join(s.dir, s.id+"-newcomer.db"), Listen: freePort, Topic: s.topic}
	service := directory.New(directory.Config{Common: common}, lifecycle.Env{Log: slog.New(s.words), OpenBus: backends.Open})
	var err error
	s.newcomer, err = welcome(ctx, service)
	return err
}

// removeTime bounds how long a real server may take to delete a topic, and unreachedTime one that nobody has reached.
const (
	removeTime    = 5 * time.Second
	unreachedTime = time.Second
)

// leftError says what is left on somebody's server.
type leftError struct {
	topic, url string
	err        error
}

// Error names the topic and the server.
func (e *leftError) Error() string {
	return fmt.Sprintf("the topic %s is left on %s, delete it: %v", e.topic, config.Redact(e.url), e.err)
}

// Unwrap returns why.
func (e *leftError) Unwrap() error { return e.err }

// close stops everything, side by side, then the broker inside the process, and deletes the topic from a real one. It
// does not care for how long the experiment was meant to last.
func (s *stage) close() error {
	var group errgroup.Group
	for _, name := range []string{owner, reader} {
		group.Go(func() error { return s.platform.Stop(context.Background(), name) })
	}
	if s.newcomer != nil {
		group.Go(s.newcomer.stop)
	}
	return errors.Join(group.Wait(), s.platform.Close(), s.removeTopic())
}

// removeTopic deletes the topic from a real server. One that nobody has reached may have it all the same, for it is
// made before anybody is told that the server is there; most likely there is no server, which is no fault of its own.
func (s *stage) removeTopic() error {
	url := s.real(s.cfg)
	if url == "" || s.remove == nil {
		return nil
	}
	limit := unreachedTime
	if s.reached {
		limit = removeTime
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := s.remove(ctx, url, s.topic); err != nil && s.reached {
		return &leftError{s.topic, url, err}
	}
	return nil
}

// guest is a service beside the platform, and the goroutine that runs it.
type guest struct {
	lifecycle.Service
	cancel context.CancelFunc
	ended  chan error
}

// welcome runs a service and returns once it serves; where it doesn't, nothing of it is left.
func welcome(ctx context.Context, service lifecycle.Service) (*guest, error) {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	g := &guest{Service: service, cancel: cancel, ended: make(chan error, 1)}
	ready := make(chan struct{})
	go func() { g.ended <- service.Run(life, func(lifecycle.Info) { close(ready) }) }()
	select {
	case <-ready:
		return g, nil
	case err := <-g.ended:
		cancel()
		return nil, errors.Join(errors.New("a brand-new directory does not start"), err)
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), g.stop())
	}
}

// stop stops the service and returns once it is gone. Call it once.
func (g *guest) stop() error {
	g.cancel()
	return <-g.ended
}
