package e2e

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/inbox"
	"github.com/tidings-dev/tidings/bus/outbox"
)

// inbox is how a reader's inbox stands, by its own books: what its status tells, read from its database beside it.
func (s *service) inbox(t *testing.T) inbox.Status {
	t.Helper()
	return readBooks(t, s, func(ctx context.Context, db *sql.DB) (inbox.Status, error) {
		nothing := inbox.Any(func(context.Context, inbox.Tx, []bus.Event) error { return errors.New("nobody calls it") })
		cfg := inbox.Config{Group: s.name, Topics: []string{s.topic}, DB: db}
		if s.name != "directory" { // an inbox of another kind would be written down, which can't be done here
			cfg.Gaps = inbox.Every
		}
		in, err := inbox.New(cfg, nothing)
		if err != nil {
			return inbox.Status{}, err
		}
		return in.Status(ctx)
	})
}

// outbox is how the owner's outbox stands.
func (s *stack) outbox(t *testing.T) outbox.Status {
	t.Helper()
	return readBooks(t, s.users, func(ctx context.Context, db *sql.DB) (outbox.Status, error) {
		o, err := outbox.New(ctx, db)
		if err != nil {
			return outbox.Status{}, err
		}
		return o.Status(ctx)
	})
}

// readBooks reads a database that a service has open, and can't change it.
func readBooks[Status any](t *testing.T, s *service, read func(context.Context, *sql.DB) (Status, error)) Status {
	t.Helper()
	db, err := s.database()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // nothing was written
	status, err := read(t.Context(), db)
	if err != nil {
		t.Fatalf("%s: %v", s.db, err)
	}
	return status
}

// published waits until the owner has told everything that was written.
func (s *stack) published(t *testing.T) {
	t.Helper()
	eventually(t, catchUpTime, func() error {
		if o := s.outbox(t); o.Pending > 0 {
			return fmt.Errorf("%d events are not yet published", o.Pending)
		}
		return nil
	})
}

// upToDate fails unless the reader has heard of the highest number that the owner has given.
func (s *service) upToDate(t *testing.T) error {
	t.Helper()
	o, in := s.stack.outbox(t), s.inbox(t)
	if o.Pending > 0 || len(o.Streams) != 1 {
		return fmt.Errorf("%d events are not yet published, of streams %v", o.Pending, o.Streams)
	}
	given := o.Streams[0]
	for _, heard := range in.Streams {
		if heard.SeqLog == given.SeqLog && heard.Highest == given.Seq {
			return nil
		}
	}
	return fmt.Errorf("the owner has numbered %d events, and it has heard of %+v", given.Seq, in.Streams)
}

// hasMissed fails the test unless the service says that it has missed n events, in its books and, if any, in its log.
func (s *service) hasMissed(t *testing.T, n int) {
	t.Helper()
	if missed := s.inbox(t).Missed; missed != int64(n) {
		t.Errorf("%s says that it has missed %d events, want %d", s.name, missed, n)
	}
	if n > 0 {
		s.process.await(t, fmt.Sprintf(`"level":"WARN".*"missed":%d\b`, n))
	}
}
