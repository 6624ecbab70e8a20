package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// Gaps is what to do when versions of a key are missing before the one that came.
type Gaps int

const (
	// Newest applies the version that came and counts the missing ones: right for a projection, which keeps the
	// latest state only, and whose events carry the whole state.
	Newest Gaps = iota
	// Every waits for the missing versions for Config.GapWait, holding the key's later events back, and then
	// records a hole and goes on: right for a history, which needs each. An event that comes late for a hole is
	// still applied.
	Every
)

// Unknown is what to do with events of a type that no route takes.
type Unknown int

const (
	// Ignore counts the event as done. A release that takes such a type later says at start what it has missed.
	Ignore Unknown = iota
	// Park keeps the event in the parked table, until a person retries it with a release that takes it.
	Park
)

// Config says what an [Inbox] reads, and how. Group, Topics and DB must be set.
type Config struct {
	// Group is the name of the service that reads: "directory". On the wire it is followed by the database's own
	// id ("directory.3f2a9c1e"), so that two databases are two groups and each gets every event.
	Group string
	// Topics to read.
	Topics []string
	// Sources are those whose events are taken: "/users". Events of others are passed over, whatever their type, neither
	// marked nor parked nor missed by their numbers, and counted in Status.Ignored: whoever else writes to the topics
	// changes nothing here. Empty takes all. What was taken of a source that is named no more stays, and what is parked of
	// it is still retried; what was passed over of one that is named later only a [Rewind] or a [Rebuild] brings back.
	Sources []string
	// DB is the service's own database, SQLite or Postgres, which holds effects, marks and positions together. It must
	// allow two connections. On SQLite the inbox keeps one of them while it runs, and the DSN must ask for immediate
	// transactions, WAL, and synchronous=FULL: without the last one, what was committed may vanish with the power. On
	// Postgres each delivery, and each outcome of a reaction, takes one while it is stored.
	DB *sql.DB
	// Start is where a group begins that has no positions yet; the zero value is the log's start.
	Start bus.Start
	// Require is what the handlers can't do without; Run refuses a bus that lacks it. What a bus lacks and
	// nobody requires is logged once by Run.
	Require bus.Guarantees
	// Gaps says what missing versions mean; the zero value is Newest. A route made by [After] implies Every.
	Gaps Gaps
	// GapWait is how long Every waits for missing versions. 0 is one minute, or 5 seconds on a bus that isn't durable:
	// what is lost there never comes, and only what was reordered, or is sent again, is worth the wait.
	GapWait time.Duration
	// Unknown says what to do with events of types that no route takes; the zero value is Ignore. One that has a twin of a
	// type that is taken is passed over, whatever it says: see the package's documentation.
	Unknown Unknown
	// MaxBatch bounds the events of a delivery, which is one transaction; 0 is [bus.DefaultMaxBatch].
	MaxBatch int

	// Attempts is how often an event that fails, or a reaction, is tried before it is dead, and waits for a person; 0 is
	// 20, which takes about two hours, and -1 is without end. The first try, in the delivery, is one of them. Tries that
	// a fault of the store has ended are not counted.
	Attempts int
	// MaxAge is how old an event may be for its reaction to be performed, by Event.Time; older ones are recorded
	// as skipped. 0 is any age. An event without a time is never too old, nor is one whose reaction was tried already:
	// that goes on for Attempts.
	MaxAge time.Duration
	// Workers is how many reactions are performed at once; 0 is 8. Those of one key never overlap.
	Workers int
	// Timeout bounds one try of a reaction: its context ends then. 0 is 30 seconds. The lease on the reaction
	// lasts twice as long, and what a killed process was performing is repeated once it has run out.
	Timeout time.Duration

	// Logger is where the inbox says what no error tells; nil is [slog.Default].
	Logger *slog.Logger
	// Now is the clock; nil is [time.Now].
	Now func() time.Time
	// OnReady, where set, hears whether the subscription stands, as in [bus.Subscription], and is not stuck: after a
	// delivery that can't be taken, for a fault of the store or a bad release, it hears false until one succeeds. Calls
	// don't overlap, and hold up the delivery.
	OnReady func(ready bool)
	// OnGap, where set, hears of every loss that the bus notices, and on a bus without a log also of what the numbers
	// of the events show to be missing: once that is committed, how many exactly, and whose (Gap.Source, which the
	// bus leaves empty). The bus tells of the same loss in its own words, so only one of the two is to be summed. What
	// comes late after all is not taken back here; Status.Missed always says what is missing still. Calls may
	// overlap, and hold up the delivery: be quick.
	OnGap func(ctx context.Context, g bus.Gap)
}

const (
	defaultGapWait  = time.Minute
	lossyGapWait    = 5 * time.Second // on a bus that isn't durable
	defaultAttempts = 20
	defaultWorkers  = 8
	defaultTimeout  = 30 * time.Second
)

// check reports every fault of c.
func (c *Config) check() error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(c.Group == "", "Group is empty")
	fault(len(c.Topics) == 0, "Topics is empty")
	for i, t := range c.Topics {
		fault(t == "", "Topics[%d] is empty", i)
	}
	for i, s := range c.Sources {
		fault(s == "", "Sources[%d] is empty", i)
	}
	fault(c.DB == nil, "DB is nil")
	fault(c.Gaps != Newest && c.Gaps != Every, "Gaps is %d; it must be Newest or Every", c.Gaps)
	fault(c.Unknown != Ignore && c.Unknown != Park, "Unknown is %d; it must be Ignore or Park", c.Unknown)
	fault(c.GapWait < 0, "GapWait is %v; it must be above 0, or 0 for %v (%v on a bus that isn't durable)", c.GapWait, defaultGapWait, lossyGapWait)
	fault(c.MaxBatch < 0, "MaxBatch is %d; it must be above 0, or 0 for %d", c.MaxBatch, bus.DefaultMaxBatch)
	fault(c.Attempts < -1, "Attempts is %d; it must be above 0, 0 for %d, or -1 for no end", c.Attempts, defaultAttempts)
	fault(c.MaxAge < 0, "MaxAge is %v; it must be above 0, or 0 for any age", c.MaxAge)
	fault(c.Workers < 0, "Workers is %d; it must be above 0, or 0 for %d", c.Workers, defaultWorkers)
	fault(c.Timeout < 0, "Timeout is %v; it must be above 0, or 0 for %v", c.Timeout, defaultTimeout)
	return errors.Join(faults...)
}

// foreign reports whether events of a source are none of this inbox's.
func (c *Config) foreign(source string) bool {
	return len(c.Sources) > 0 && !slices.Contains(c.Sources, source)
}

// withDefaults fills in what was left zero.
func (c Config) withDefaults() Config {
	c.MaxBatch = orDefault(c.MaxBatch, bus.DefaultMaxBatch)
	c.Attempts = orDefault(c.Attempts, defaultAttempts)
	c.Workers = orDefault(c.Workers, defaultWorkers)
	c.Timeout = orDefault(c.Timeout, defaultTimeout)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}
