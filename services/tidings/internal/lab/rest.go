package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
)

// lookEvery is small beside what a restart takes, which is measured by it.
const lookEvery = 10 * time.Millisecond

// look finds how a service is, and the platform with it.
type look func(ctx context.Context) (control.Report, lifecycle.Status)

// users looks at the owner.
func (s *stage) users(ctx context.Context) (control.Report, lifecycle.Status) {
	r := s.platform.Report(ctx)
	status, _ := r.Service(owner)
	return r, status
}

// directory looks at the directory of the platform.
func (s *stage) directory(ctx context.Context) (control.Report, lifecycle.Status) {
	r := s.platform.Report(ctx)
	status, _ := r.Service(reader)
	return r, status
}

// newDirectory looks at the one that is new. It is asked before the owner, whose numbers it is compared with: the
// other way round it might seem to be ahead.
func (s *stage) newDirectory(ctx context.Context) (control.Report, lifecycle.Status) {
	status, err := s.newcomer.Status(ctx)
	if err != nil && status.Error == "" {
		status.Error = err.Error()
	}
	return s.platform.Report(ctx), status
}

// rest waits until nothing more is on its way to a service. On a log that is its end, with the owner's keys; a log
// that is read to its end and still lacks some has lost them, which is an outcome and no error.
func (s *stage) rest(ctx context.Context, at look) (control.Report, lifecycle.Status, error) {
	r, status, err := s.await(ctx, at, "something is on its way to it", func(r control.Report, status lifecycle.Status) bool {
		users, _ := r.Service(owner)
		return status.Bus && r.UpToDate(status) && (!s.keepsLog || status.Keys == users.Keys)
	})
	s.reached = s.reached || status.Bus
	var stuck *stuckError
	if errors.As(err, &stuck) && s.keepsLog && status.Bus && status.Lag == 0 {
		err = nil
	}
	return r, status, err
}

// await looks until is reports true, and returns the last look with its error: a *stuckError when nothing has moved
// for Config.Patience.
func (s *stage) await(
	ctx context.Context, at look, what string, is func(control.Report, lifecycle.Status) bool,
) (control.Report, lifecycle.Status, error) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	refusal := func() error { _, refusal := s.words.reason(); return refusal }
	for before, since := (moving{}), time.Now(); ; {
		r, status := at(ctx)
		switch now := movingOf(r, status); {
		case ctx.Err() != nil: // then the look says nothing
			return r, status, ctx.Err()
		case status.State != lifecycle.Serving:
			return r, status, fmt.Errorf("%s is %s: %s", status.Service, status.State, status.Error)
		case is(r, status):
			return r, status, nil
		case !s.reached && !status.Bus && refusal() != nil: // this side of it: publishing may be allowed
			return r, status, s.kind.fault(s.cfg, s.topic, refusal())
		case now != before:
			before, since = now, time.Now()
		case time.Since(since) > s.cfg.Patience:
			return r, status, &stuckError{what, s.cfg.Patience, status, s.keepsLog, s.words.String()}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// moving is what changes of a service while something is on its way to it.
type moving struct {
	keys, lag, unsent int64
	versions, seq     uint64
	bus               bool
}

func movingOf(r control.Report, s lifecycle.Status) moving {
	m := moving{keys: s.Keys, lag: s.Lag, versions: s.Versions, seq: s.Seq, bus: s.Bus}
	if users, _ := r.Service(owner); users.Outbox != nil {
		m.unsent = users.Outbox.Unsent
	}
	return m
}

// stuckError says what did not come about, how the service was at last, and what was said about it, if anything was.
type stuckError struct {
	what   string
	after  time.Duration
	status lifecycle.Status
	log    bool // what the bus keeps, by which it is said how far the service is
	words  string
}

// Error has what one would ask `tidings status` for, had it a platform to ask.
func (e *stuckError) Error() string {
	return fmt.Sprintf("%s: nothing has moved for %v, and still %s (%s)%s", e.status.Service, e.after, e.what, e.standing(), e.because())
}

// standing says how far the service is: by the log where there is one, else by the owner's numbers.
func (e *stuckError) standing() string {
	s, words := e.status, []string{printf("users: %d", e.status.Keys)}
	switch {
	case !e.log:
		words = append(words, printf("highest number: %d", s.Seq))
	case s.Lag == lifecycle.UnknownLag:
		words = append(words, "how far it is behind is not known")
	default:
		words = append(words, printf("events behind: %d", s.Lag))
	}
	if !s.Bus {
		words = append(words, "no bus")
	}
	return strings.Join(words, ", ")
}

// because is ": " and the reason, or "".
func (e *stuckError) because() string {
	for _, reason := range []string{e.status.Error, e.words} {
		if reason != "" {
			return ": " + reason
		}
	}
	return ""
}
