package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tidings-dev/tidings/services/internal/config"
)

// MaxUsers bounds Config.Users: it takes minutes, and shows nothing that fewer don't.
const MaxUsers = 100_000

// Config says what Run does. Users must be set.
type Config struct {
	// Users are written while directory is down, and as many again after it; 1 to MaxUsers.
	Users int
	// Kafka and Redis are addresses of real servers; empty is one inside this process, on a free port.
	Kafka, Redis string
	// Step, where set, is told what is being done, on the bus of that name, from Run's goroutine.
	Step func(bus, what string)
	// Wrote, where set, is called when a user has been written; calls may overlap. total is Users.
	Wrote func(total int)
	// Leaves, where set, is told what would be left if the process ended now, whenever that changes; "" is nothing.
	Leaves func(what string)
	// Patience is how long nothing may move while Run waits, for a server to answer too; 0 is a minute.
	Patience time.Duration

	temp string // the folder for the temporary one; "" is the system's
}

// defaultPatience is several times of the 5 s in which a relay that is idle repeats its number, and in which a broker
// lets a new member into a group, also where a machine is busy.
const defaultPatience = time.Minute

func (c Config) withDefaults() Config {
	if c.Step == nil {
		c.Step = func(string, string) {}
	}
	if c.Wrote == nil {
		c.Wrote = func(int) {}
	}
	if c.Leaves == nil {
		c.Leaves = func(string) {}
	}
	if c.Patience == 0 {
		c.Patience = defaultPatience
	}
	return c
}

// Run makes the experiment on each bus in turn, and blocks until it is done and nothing of it is left: no goroutine,
// no file, no topic; that holds when ctx ends, too. Its error is ctx's own then, unless something could not be removed,
// which it names. A server that is not there is named by its flag, before anything is done on another, and a wrong
// address is a *[config.UsageError]. Beside an error the report has the buses that were done before it.
//
// A bus that did not do what it promises is no error: see [Report.Faults].
func Run(ctx context.Context, cfg Config) (Report, error) { return run(ctx, cfg, kinds()) }

func run(ctx context.Context, cfg Config, kinds []kind) (report Report, err error) {
	cfg = cfg.withDefaults()
	if cfg.Users < 1 || cfg.Users > MaxUsers {
		return Report{}, config.Usage("lab: %d users; 1 to %d are written", cfg.Users, MaxUsers)
	}
	for _, k := range kinds {
		if err := k.check(ctx, cfg); err != nil {
			return Report{}, err
		}
	}
	for _, k := range kinds {
		if err := k.reach(ctx, cfg); err != nil {
			return Report{}, failure(ctx, k, err)
		}
	}
	dir, err := os.MkdirTemp(cfg.temp, "tidings-lab-")
	if err != nil {
		return Report{}, fmt.Errorf("lab: %w", err)
	}
	cfg.Leaves("the folder " + dir)
	defer func() {
		left := os.RemoveAll(dir)
		if left != nil && errors.Is(err, context.Canceled) {
			err = nil // it would hide what is left
		}
		if left == nil {
			cfg.Leaves("")
		}
		err = errors.Join(err, left)
	}()
	report.Users = cfg.Users
	for _, k := range kinds {
		outcome, err := on(ctx, k, cfg, dir)
		if outcome.Bus != "" { // all of it was measured, though something may be left of it
			report.Buses = append(report.Buses, outcome)
		}
		if err != nil {
			return report, failure(ctx, k, err)
		}
	}
	return report, nil
}

// failure says on which bus it was. An end that was asked for is no fault of it, whatever it made fail; only what is
// left then matters, and who hears of an interrupt is to hear of that instead.
func failure(ctx context.Context, k kind, err error) error {
	var left *leftError
	switch {
	case ctx.Err() == nil:
		return fmt.Errorf("lab: %s: %w", k.name, err)
	case errors.As(err, &left):
		return fmt.Errorf("lab: %s: interrupted, but %w", k.name, left)
	}
	return ctx.Err()
}

// on makes the experiment on one bus.
func on(ctx context.Context, k kind, cfg Config, dir string) (outcome Outcome, err error) {
	s, err := newStage(ctx, k, cfg, dir)
	if err != nil {
		return Outcome{}, err
	}
	cfg.Leaves(s.leaves())
	defer func() {
		left := s.close()
		if left == nil {
			cfg.Leaves("the folder " + dir)
		}
		err = errors.Join(err, left)
	}()
	return s.measure(ctx)
}
