package outbox

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
)

//go:embed migrations
var migrations embed.FS

// versionTable is where goose keeps which migrations have run.
const versionTable = "tidings_outbox_version"

// DefaultKeep is how long a row stays after it was sent, where [WithKeep] says nothing.
const DefaultKeep = 7 * 24 * time.Hour

// How the transaction of [Outbox.InTx] failed, where it was not fn alone; test with [errors.Is].
var (
	// ErrNotCommitted is wrapped when the transaction, which may be shared with others, could not be committed: nothing of
	// it is stored, and it may be tried again.
	ErrNotCommitted = sqldb.ErrNotCommitted

	// ErrInDoubt is wrapped when the connection to a Postgres broke between COMMIT and its answer: nobody knows whether
	// it is stored, or will be in a moment. An owner then runs the same transaction once more, under a condition that
	// only one of the two can meet: an insert with the same id, which was chosen before the first try; an update or delete
	// WHERE version = n. That waits for the first, and "it is there already, and is mine" is success, whose event is
	// stored too. Where it can't be run either, the answer is that the outcome is unknown.
	ErrInDoubt = sqldb.ErrInDoubt
)

// Tx is a transaction of the outbox's database: what [Outbox.InTx] gives, or a *[sql.Tx].
type Tx = sqldb.Tx

// Outbox keeps events in the owner's database until they are published. Make one with [New]; all its methods are
// safe for concurrent use.
type Outbox struct {
	db   *sql.DB // for reading; transactions of callers too
	w    *sqldb.Writer
	log  *slog.Logger
	keep time.Duration
	now  func() time.Time
	pace pace
	wake chan struct{} // holds one wake at most: a relay that looks finds all there is

	streams []streamKey        // told of by WithStream
	fresh   map[streamKey]bool // … by WithNewStream
}

// Option is a setting of [New].
type Option func(*Outbox)

// WithLogger sets where the relay logs what nobody is told by an error: who leads, events that are held back or can't
// be sent, faults of the database. The default is [slog.Default].
func WithLogger(l *slog.Logger) Option { return func(o *Outbox) { o.log = l } }

// WithKeep sets how long a row stays after it was sent; [DefaultKeep] where this is not given. Until then it tells
// where in the log its event went. It must be more than 0.
func WithKeep(d time.Duration) Option { return func(o *Outbox) { o.keep = d } }

// New makes the outbox's tables in db, whose names begin with tidings_outbox, or migrates them. It starts nothing.
//
// db must be SQLite or Postgres, and allow two connections or more.
//
// Of SQLite's the outbox keeps one as its writer; open it with immediate transactions, a busy timeout, WAL and full
// synchronisation, or commits may vanish with the power (for mattn/go-sqlite3:
// _txlock=immediate&_busy_timeout=10000&_journal_mode=WAL&_synchronous=FULL).
//
// On Postgres synchronous_commit must be on, as it is by default, for the same reason. A relay uses up to four
// connections of the pool at a time. Replicas may share the database, and start together.
func New(ctx context.Context, db *sql.DB, opts ...Option) (*Outbox, error) {
	o := &Outbox{
		db: db, log: slog.Default(), keep: DefaultKeep, now: time.Now,
		pace: defaultPace(), wake: make(chan struct{}, 1),
	}
	for _, opt := range opts {
		opt(o)
	}
	if o.keep <= 0 {
		return nil, fmt.Errorf("outbox: keep is %v; it must be more than 0", o.keep)
	}
	if err := checkStreams(o.streams); err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	if err := o.open(ctx); err != nil {
		return nil, fmt.Errorf("outbox: %w", err)
	}
	return o, nil
}

// open makes what needs the database: writer, tables, and the rows of streams.
func (o *Outbox) open(ctx context.Context) error {
	var err error
	if o.w, err = sqldb.Open(ctx, o.db); err != nil {
		return err
	}
	dialect := o.w.Dialect()
	if dialect == sqldb.Postgres {
		o.pace.look, o.pace.skew = otherLook, otherSkew
	}
	files, err := fs.Sub(migrations, dialect.Folder())
	if err != nil {
		return err
	}
	if err := sqldb.Migrate(ctx, o.db, dialect, files, versionTable); err != nil {
		return err
	}
	return o.addStreams(ctx)
}

// InTx runs fn in a transaction and returns once it is committed; then the relay is woken. It never waits for a
// broker. Transactions that are asked for at the same moment share a commit, so many callers are much faster than one.
//
// An error of fn takes back what fn did, alone, and is returned as it is, like a panic. An error that wraps
// [ErrNotCommitted] means that the commit failed, and one that wraps [ErrInDoubt] that nobody knows. fn may run on another caller's goroutine, keeps no state across
// calls, must not use tx after it has returned, and must not call InTx. The end of ctx takes fn out of the line, or
// stops it at its next statement; it is no longer looked at once fn has returned.
func (o *Outbox) InTx(ctx context.Context, fn func(ctx context.Context, tx Tx) error) error {
	err := o.w.InTx(ctx, fn)
	if err == nil {
		o.Wake()
		crashpoint.Pass("outbox.2b")
	}
	return err
}

// Wake makes the relay look for events at once. Call it after the commit of a transaction of your own in which you
// called [Outbox.Add]; without it they are found within a second, and on Postgres within a tenth of one. It doesn't
// block, and is heard by a relay of this Outbox alone.
func (o *Outbox) Wake() {
	select {
	case o.wake <- struct{}{}:
	default: // it is awake
	}
}
