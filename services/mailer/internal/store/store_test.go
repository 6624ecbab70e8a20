package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/mailer/internal/store"
)

func TestMain(m *testing.M) { servicetest.Main(m) }

func TestThisHoldsOnPostgresToo(t *testing.T) { servicetest.NeedsPostgres(t) }

// fixture is a store in a database of its own.
type fixture struct {
	*store.Store
	t  testing.TB
	db *database.DB
}

func open(t testing.TB) *fixture {
	t.Helper()
	db := servicetest.Database(t, "mailer", store.Migrations)
	return &fixture{store.New(db.DB), t, db}
}

// add stores messages in one transaction.
func (f *fixture) add(messages ...store.Message) {
	f.t.Helper()
	f.inTx(func(tx store.Tx) error {
		for _, m := range messages {
			if err := f.Add(f.t.Context(), tx, m); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *fixture) inTx(fn func(tx store.Tx) error) {
	f.t.Helper()
	tx, err := f.db.BeginTx(f.t.Context(), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := fn(tx); err != nil {
		_ = tx.Rollback()
		f.t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		f.t.Fatal(err)
	}
}

// counted wants so many messages, by both counts.
func (f *fixture) counted(want int64) {
	f.t.Helper()
	exact, err := f.CountUpTo(f.t.Context(), store.Filter{}, 1000)
	if err != nil {
		f.t.Fatal(err)
	}
	about, err := f.Estimate(f.t.Context(), store.Filter{})
	if err != nil || exact != want || about != want {
		f.t.Errorf("%d counted, estimated at %d (%v); want %d", exact, about, err, want)
	}
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 123e6, time.UTC)

func message(n int) store.Message {
	return store.Message{
		EventID: fmt.Sprintf("event-%03d", n), UserID: fmt.Sprintf("user-%d", n%3), To: "ada@example.org", Subject: "Welcome",
		State: "queued", CreateTime: noon, UpdateTime: noon,
	}
}

func TestAMessageIsKeptOnceAndMoves(t *testing.T) {
	f := open(t)
	f.add(message(1), message(2))
	f.add(message(1)) // again
	f.counted(2)
	moved := message(1)
	moved.State, moved.Attempts, moved.LastError = "retrying", 3, "450 later"
	moved.UpdateTime, moved.NextTime = noon.Add(time.Minute), noon.Add(time.Hour)
	f.inTx(func(tx store.Tx) error { return f.Move(t.Context(), tx, moved) })
	got, err := f.Get(t.Context(), "event-001")
	if err != nil {
		t.Fatal(err)
	}
	moved.Seq = got.Seq
	if diff := cmp.Diff(moved, got); diff != "" {
		t.Error(diff)
	}
	if _, err := f.Get(t.Context(), "event-003"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("one that is not there: %v", err)
	}
	f.inTx(func(tx store.Tx) error { return f.Move(t.Context(), tx, message(3)) })
	f.counted(2)
}

func TestMessagesComeTheLastQueuedFirstByPages(t *testing.T) {
	f := open(t)
	var want []string
	for i := range 25 {
		f.add(message(i))
		want = append([]string{message(i).EventID}, want...)
	}
	for _, size := range []int{1, 7, 25, 100} {
		var got []string
		var before *int64
		for {
			page, err := f.List(t.Context(), store.Filter{}, before, size)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range page {
				got = append(got, m.EventID)
				before = new(m.Seq)
			}
			if len(page) < size {
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("by pages of %d: %s", size, diff)
		}
	}
	filter := store.Filter{UserID: "user-1", State: "queued"}
	list, err := f.List(t.Context(), filter, nil, 100)
	if err != nil || len(list) != 8 {
		t.Errorf("%d of user-1 (%v), want 8", len(list), err)
	}
	for limit, want := range map[int]int64{3: 3, 100: 8} {
		if n, err := f.CountUpTo(t.Context(), filter, limit); err != nil || n != want {
			t.Errorf("up to %d: %d (%v), want %d", limit, n, err, want)
		}
	}
}

// Replicas queue side by side, and some of what they queue is taken back: the count is that of the rows all the same.
func TestTheCountIsThatOfTheRowsWhoeverWritesAndWhateverIsTakenBack(t *testing.T) {
	f := open(t)
	f.add(message(0))
	tx, err := f.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 10; i++ {
		if err := f.Add(t.Context(), tx, message(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	f.counted(1)
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			for n := range 10 {
				f.add(message(10+n), message(100+10*i+n)) // the first of which others queue too
			}
		})
	}
	all.Wait()
	f.counted(1 + 10 + 60)
}

// A mail server may answer with anything, and an event may say anything.
func TestWhatNoTextMayHoldIsReplaced(t *testing.T) {
	f := open(t)
	m := message(1)
	m.EventID, m.To, m.LastError = "a\x00b", "x\x00@example.org", "550 \xff no"
	f.add(m)
	got, err := f.Get(t.Context(), "a\x00b")
	if err != nil || got.To != "x\uFFFD@example.org" || strings.ToValidUTF8(got.LastError, "") != got.LastError {
		t.Errorf("it is %+v (%v)", got, err)
	}
	if list, err := f.List(t.Context(), store.Filter{UserID: "\x00"}, nil, 10); err != nil || len(list) != 0 {
		t.Errorf("a hostile filter finds %v (%v)", list, err)
	}
}
