package platform

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidings-dev/tidings/services/internal/config"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
)

// Platform is the broker and the services. It is a [control.Platform].
type Platform struct {
	cfg    Config
	broker broker // nil with a real one
	url    string // of the bus, as services connect to it
	units  []*unit
	// keepsLog says that the bus keeps events, which is known by its address.
	keepsLog bool
}

var _ control.Platform = (*Platform)(nil)

// New starts the embedded server, if that is the bus, and makes the services, which are all still stopped. Close
// gives everything back.
func New(ctx context.Context, cfg Config) (*Platform, error) {
	p := &Platform{cfg: cfg, url: cfg.Bus}
	if err := os.MkdirAll(cfg.Dir(), 0o700); err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	keepsLog, err := cfg.keepsLog(ctx)
	if err != nil {
		return nil, err
	}
	p.keepsLog = keepsLog
	broker, err := cfg.startBroker(ctx)
	if err != nil {
		return nil, err
	}
	if broker != nil {
		p.broker, p.url = broker, broker.URL()
	}
	services, err := cfg.services(p.url)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	for _, s := range services {
		p.units = append(p.units, &unit{Service: s})
	}
	return p, nil
}

// StartAll starts every service, side by side, and returns once each serves or has failed. On a bus that keeps nothing
// the owner is the last, and the others get up to 2 s to stand before it, for it numbers and tells from its start on. A service that failed is
// shown so by Report, the others go on without it, and Start may be tried again. It is an error only where none
// serves, or where it is plainly the user who has to choose: an address that can't be listened on, and wrong flags.
func (p *Platform) StartAll(ctx context.Context) error {
	faults := make([]error, len(p.units))
	start := func(which func(*unit) bool) {
		var group sync.WaitGroup
		for i, u := range p.units {
			if which(u) {
				group.Go(func() { faults[i] = u.start(ctx) })
			}
		}
		group.Wait()
	}
	owner := func(u *unit) bool { return u.Name() == control.Owner }
	start(func(u *unit) bool { return p.keepsLog || !owner(u) })
	if !p.keepsLog {
		p.listening(ctx)
		start(owner)
	}
	faults = slices.DeleteFunc(faults, func(err error) bool { return err == nil })
	mistake := slices.IndexFunc(faults, isMistake)
	switch {
	case len(faults) == 0:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case mistake >= 0:
		return faults[mistake]
	case len(faults) == len(p.units):
		return together(faults)
	}
	return nil
}

// listenTime is how long the owner's start waits for those who are to hear it.
const listenTime = 2 * time.Second

// listening waits until every service that serves listens to the bus, or knows why it can't.
func (p *Platform) listening(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, listenTime)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	waits := func(u *unit) bool {
		s := status(ctx, u)
		return s.State == lifecycle.Serving && !s.Bus && s.BusError == ""
	}
	for slices.ContainsFunc(p.units, waits) {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// isMistake reports whether a start failed by what the user has typed.
func isMistake(err error) bool {
	var usage *config.UsageError
	var address *net.OpError
	return errors.As(err, &usage) || errors.As(err, &address) && address.Op == "listen"
}

// together is one error, in one line, for services that all failed: what they say, once where they say the same.
func together(faults []error) error {
	var said []string
	same := true
	for _, err := range faults {
		said = append(said, err.Error())
		same = same && errors.Unwrap(err).Error() == errors.Unwrap(faults[0]).Error()
	}
	if same {
		return errors.Unwrap(faults[0])
	}
	return errors.New(strings.Join(said, "; "))
}

// CloseTimeout is how long the embedded server may take to close. The services have [lifecycle.DefaultStopTimeout]
// and [lifecycle.CloseTimeout] before it.
const CloseTimeout = 1500 * time.Millisecond

// Close stops the services, side by side, then the broker. It blocks for 9 s at most, the sum of their bounds.
func (p *Platform) Close() error {
	var group errgroup.Group
	for _, u := range p.units {
		group.Go(u.stop)
	}
	err := group.Wait()
	if p.broker == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), CloseTimeout)
	defer cancel()
	return errors.Join(err, p.broker.Close(ctx))
}

// Start starts a service.
func (p *Platform) Start(ctx context.Context, name string) error {
	u, err := p.unit(name)
	if err != nil {
		return err
	}
	return u.start(ctx)
}

// Stop stops a service.
func (p *Platform) Stop(_ context.Context, name string) error {
	u, err := p.unit(name)
	if err != nil {
		return err
	}
	return u.stop()
}

func (p *Platform) unit(name string) (*unit, error) {
	var names []string
	for _, u := range p.units {
		if u.Name() == name {
			return u, nil
		}
		names = append(names, u.Name())
	}
	return nil, fmt.Errorf("%w: %q; there is %v", control.ErrUnknownService, name, names)
}

// statusTime bounds how long a report waits for one service.
const statusTime = 3 * time.Second

// Report asks every service how it is. The owner is asked before and after the others: if it wrote meanwhile, their
// numbers can't be compared.
func (p *Platform) Report(ctx context.Context) control.Report {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	before := p.owner(ctx)
	r := control.Report{
		Bus:  control.Bus{URL: config.Redact(p.url), Embedded: p.broker != nil, Topic: p.cfg.Topic, KeepsLog: p.keepsLog},
		Data: p.cfg.Dir(), Services: p.statuses(ctx, before),
	}
	for _, s := range r.Services {
		if s.Guarantees != "" {
			r.Bus.Guarantees, r.Bus.Without = s.Guarantees, s.Without
		}
	}
	after := p.owner(ctx)
	r.Quiet = before.State == lifecycle.Serving && before.Versions == after.Versions && before.Keys == after.Keys
	return r
}

func (p *Platform) owner(ctx context.Context) lifecycle.Status {
	u, err := p.unit(control.Owner)
	if err != nil {
		return lifecycle.Status{}
	}
	return status(ctx, u)
}

func (p *Platform) statuses(ctx context.Context, owner lifecycle.Status) []lifecycle.Status {
	all := make([]lifecycle.Status, len(p.units))
	var wg sync.WaitGroup
	for i, u := range p.units {
		if u.Name() == control.Owner {
			all[i] = owner
			continue
		}
		wg.Go(func() { all[i] = status(ctx, u) })
	}
	wg.Wait()
	return all
}

func status(ctx context.Context, u *unit) lifecycle.Status {
	s, err := u.Status(ctx)
	if err != nil && s.Error == "" {
		s.Error = err.Error()
	}
	return s
}
