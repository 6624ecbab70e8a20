package inbox

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

var (
	createdType = &eventsv1.UserCreated{}
	updatedType = &eventsv1.UserUpdated{}
)

// batches makes a Batch handler that inserts, and writes down each batch: "name[a:1 b:1]".
func batches(name string, seen *[]string) func(context.Context, Tx, []bus.Event) error {
	return func(ctx context.Context, tx Tx, batch []bus.Event) error {
		var keys []string
		for _, e := range batch {
			keys = append(keys, fmt.Sprintf("%s:%d", e.Key, e.Version))
			if err := insert(ctx, tx, &e, name); err != nil {
				return err
			}
		}
		*seen = append(*seen, name+fmt.Sprint(keys))
		return nil
	}
}

func TestABatchHoldsAllThatIsNew(t *testing.T) {
	var seen []string
	in, l := mustNew(t, config(t, newDB(t)), Batch(batches("B", &seen), createdType, updatedType)), newTape(t, 2)
	l.resume(in)
	l.put(0, created(t, "a", 1, ""), updated(t, "a", 2, ""), deleted(t, "c", 1))
	l.put(1, created(t, "b", 1, ""))
	l.play(in, cut{0, 0, 1})
	seen = nil
	mustExec(t, in.cfg.DB, `UPDATE tidings_inbox_position SET next = 0`)
	l.play(in, cut{0, 0, 3}, cut{1, 0, 1})
	if want := []string{"B[a:2 b:1]"}; !slices.Equal(seen, want) {
		t.Fatalf("batches are %v, want %v", seen, want)
	}
	l.play(in, cut{1, 1, 1})
	if len(seen) != 1 {
		t.Fatalf("a batch of nothing was handed over: %v", seen)
	}
}

func TestTheOrderWithinAKeyHoldsAcrossRoutes(t *testing.T) {
	var seen []string
	on := On(func(ctx context.Context, tx Tx, e bus.Event, _ *eventsv1.UserDeleted) error {
		seen = append(seen, fmt.Sprintf("O[%s:%d]", e.Key, e.Version))
		return insert(ctx, tx, &e, "O")
	})
	in := mustNew(t, config(t, newDB(t)), Batch(batches("C", &seen), createdType), Batch(batches("U", &seen), updatedType), on)
	l := newTape(t, 1)
	l.resume(in)
	l.put(0,
		created(t, "a", 1, ""), created(t, "b", 1, ""), created(t, "c", 1, ""), updated(t, "b", 2, ""), // U[b:2] needs C[b:1] done
		updated(t, "a", 2, ""), created(t, "d", 1, ""),
		deleted(t, "a", 3), // needs U done
		created(t, "e", 1, ""), deleted(t, "c", 2),
	)
	l.play(in, cut{0, 0, 9})
	want := []string{"C[a:1 b:1 c:1]", "U[b:2 a:2]", "O[a:3]", "O[c:2]", "C[d:1 e:1]"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Fatalf("calls (-want +got):\n%s", diff)
	}
	wantOrderWithinKeys(t, applications(t, in.cfg.DB))
}

// wantOrderWithinKeys wants each key's versions to be 1, 2, 3 …
func wantOrderWithinKeys(t testing.TB, applied []string) {
	t.Helper()
	last := make(map[string]int)
	for _, a := range applied {
		var v int
		key, rest, _ := strings.Cut(a, ":")
		fmt.Sscan(rest, &v)
		if v != last[key]+1 {
			t.Fatalf("key %s: version %d was applied after %d: %v", key, v, last[key], applied)
		}
		last[key] = v
	}
}

func TestAHandlerMayKeepTheEvents(t *testing.T) {
	var kept []bus.Event
	in, l := mustNew(t, config(t, newDB(t)), Batch(func(_ context.Context, _ Tx, batch []bus.Event) error {
		kept = append(kept, batch...)
		return nil
	}, createdType)), newTape(t, 1)
	l.resume(in)
	l.put(0, created(t, "a", 1, "A"), created(t, "b", 1, "B"))
	d := l.delivery(cut{0, 0, 2})
	want := slices.Clone(d.Events)
	if err := in.handle(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	clear(d.Events) // as a backend does that uses its slice again
	if diff := cmp.Diff(want, kept); diff != "" {
		t.Fatalf("kept events (-want +got):\n%s", diff)
	}
}

func TestEventsAtFaultAreParkedAndTheRestGoesOn(t *testing.T) {
	bad := func(e *bus.Event) bool { return strings.HasPrefix(e.Key, "bad") }
	refuse := func(ctx context.Context, tx Tx, e *bus.Event) error {
		if err := insert(ctx, tx, e, ""); err != nil || !bad(e) {
			return err
		}
		return bus.Permanent(errTest) // after its effect, which must not stay
	}
	batch := func(name func(int, error) error) func(context.Context, Tx, []bus.Event) error {
		return func(ctx context.Context, tx Tx, batch []bus.Event) error {
			for i := range batch {
				if err := refuse(ctx, tx, &batch[i]); err != nil {
					return name(i, err)
				}
			}
			return nil
		}
	}
	for name, route := range map[string]Route{
		"On": On(func(ctx context.Context, tx Tx, e bus.Event, _ *eventsv1.UserCreated) error {
			return refuse(ctx, tx, &e)
		}),
		"Batch that names the event":  Batch(batch(bus.AtEvent), createdType),
		"Batch that doesn't":          Batch(batch(func(_ int, err error) error { return err }), createdType),
		"Batch that names it wrongly": Batch(batch(func(_ int, err error) error { return bus.AtEvent(99, err) }), createdType),
	} {
		t.Run(name, func(t *testing.T) {
			in, l := mustNew(t, config(t, newDB(t)), route), newTape(t, 1)
			l.resume(in)
			l.put(0, created(t, "a", 1, "A"), created(t, "bad1", 1, ""), created(t, "b", 1, "B"), created(t, "bad2", 1, ""), created(t, "c", 1, "C"))
			l.play(in, cut{0, 0, 5})
			wantApplied(t, in, "a:1 ", "b:1 ", "c:1 ")
			wantPositions(t, in, 5)
			wantStatus(t, in, Status{Keys: 5, Versions: 5, Parked: 2, Dead: 2})
			mustExec(t, in.cfg.DB, `UPDATE tidings_inbox_position SET next = 0`)
			l.play(in, cut{0, 0, 5})
			wantStatus(t, in, Status{Keys: 5, Versions: 5, Parked: 2, Dead: 2, Duplicates: 5})
		})
	}
}

func TestAParkedRowHoldsTheEventAsItCame(t *testing.T) {
	c := newClock()
	cfg := config(t, newDB(t))
	c.config(&cfg)
	in := mustNew(t, cfg, On(func(context.Context, Tx, bus.Event, *eventsv1.UserCreated) error { return bus.Permanent(errTest) }))
	l := newTape(t, 1)
	l.resume(in)
	e := created(t, "a", 1, "A")
	e.Ext = map[string]string{"traceparent": "00-x-y-01"}
	l.put(0, e)
	l.play(in, cut{0, 0, 1})
	var raw []byte
	var key, why string
	var off, at int64
	row := in.cfg.DB.QueryRow(`SELECT raw, key, off, error, time FROM tidings_inbox_parked WHERE grp = 'test' AND state = 'dead'`)
	if err := row.Scan(&raw, &key, &off, &why, &at); err != nil {
		t.Fatal(err)
	}
	got, err := bus.ParseEnvelope(raw)
	if diff := cmp.Diff(e, got); err != nil || diff != "" {
		t.Fatalf("the envelope (-came +parked), %v:\n%s", err, diff)
	}
	if key != "a" || off != 0 || !strings.Contains(why, "test error") || at != c.now.UnixMilli() {
		t.Fatalf("parked: key %q, offset %d, error %q, time %d", key, off, why, at)
	}
}

func TestARecordThatIsNoEventIsParkedWithItsBytes(t *testing.T) {
	in, l := newInbox(t, 1)
	broken := bus.Event{Key: "k\xff\x00", Data: []byte("\xff not an event"), Err: errTest}
	l.put(0, created(t, "a", 1, "A"), broken, bus.Event{Err: errTest}, created(t, "b", 1, "B"))
	l.play(in, cut{0, 0, 4})
	wantApplied(t, in, "a:1 A", "b:1 B")
	mustExec(t, in.cfg.DB, `UPDATE tidings_inbox_position SET next = 0`)
	l.play(in, cut{0, 0, 4}) // read again, it is not parked again
	wantStatus(t, in, Status{Keys: 2, Versions: 2, Parked: 2, Dead: 2, Duplicates: 2})
	var raw []byte
	var key string
	if err := in.cfg.DB.QueryRow(`SELECT raw, key FROM tidings_inbox_parked WHERE off = 1`).Scan(&raw, &key); err != nil {
		t.Fatal(err)
	}
	if string(raw) != "\xff not an event" || key != "k\uFFFD\uFFFD" {
		t.Fatalf("parked %q under %q", raw, key)
	}
}

func TestDataThatCannotBeDecodedIsParked(t *testing.T) {
	in, l := newInbox(t, 1)
	e := created(t, "a", 1, "A")
	e.Data = []byte{0xff}
	l.put(0, e, created(t, "b", 1, "B"), updated(t, "a", 2, "AA"))
	l.play(in, cut{0, 0, 2})
	wantApplied(t, in, "b:1 B")
	wantStatus(t, in, Status{Keys: 2, Versions: 2, Parked: 1, Dead: 1})
	l.play(in, cut{0, 2, 3}) // the newer version makes up for it
	wantApplied(t, in, "b:1 B", "a:2 AA")
	wantStatus(t, in, Status{Keys: 2, Versions: 3})
}

func TestAFaultOfTheStoreBringsTheDeliveryAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		err   error
		delay time.Duration
	}{
		"wrapped by the handler":         {err: fmt.Errorf("insert: %w", errStore)},
		"with a delay":                   {err: bus.RetryAfter(time.Minute, errStore), delay: time.Minute},
		"a commit in doubt":              {err: sqldb.ErrInDoubt},
		"a time that is over":            {err: fmt.Errorf("x: %w", context.DeadlineExceeded)},
		"a reread is not its word":       {err: fmt.Errorf("%w: %w", bus.Reread(bus.Position{Topic: topic}), errStore)},
		"an event is named all the same": {err: bus.AtEvent(0, errStore)},
		"a fault of the database is not the event's, whatever the handler says": {err: bus.Permanent(fmt.Errorf("x: %w", sqldb.ErrNotCommitted))},
		"nor is a lost connection": {err: bus.Permanent(bus.RetryAfter(time.Minute, driver.ErrBadConn)), delay: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			in := mustNew(t, config(t, newDB(t)), On(func(context.Context, Tx, bus.Event, *eventsv1.UserCreated) error { return tt.err }))
			l := newTape(t, 1)
			l.resume(in)
			l.put(0, created(t, "a", 1, "A"))
			err := in.handle(t.Context(), l.delivery(cut{0, 0, 1}))
			if err == nil || bus.IsPermanent(err) {
				t.Fatalf("the bus hears %v, want an error that is tried again", err)
			}
			if _, ok := bus.RereadPositions(err); ok {
				t.Fatalf("the bus hears a Reread: %v", err)
			}
			if d, _ := bus.RetryDelay(err); d != tt.delay {
				t.Fatalf("the delay is %v, want %v", d, tt.delay)
			}
			wantPositions(t, in, 0)
			wantStatus(t, in, Status{})
		})
	}
}

func TestAPanicIsAnErrorWithItsStackInTheLog(t *testing.T) {
	c, cfg := newClock(), config(t, newDB(t))
	c.config(&cfg)
	var logged logs
	cfg.Logger = logged.logger()
	calm := false
	in := mustNew(t, cfg, On(func(ctx context.Context, tx Tx, e bus.Event, _ *eventsv1.UserCreated) error {
		if err := insert(ctx, tx, &e, ""); err != nil || calm {
			return err
		}
		panic("handler gone wrong")
	}))
	l := newTape(t, 1)
	l.resume(in)
	l.put(0, created(t, "a", 1, "A"))
	l.play(in, cut{0, 0, 1})
	if !logged.has("handler gone wrong", "effect_test.go") {
		t.Fatalf("the log lacks the stack: %s", logged.String())
	}
	wantApplied(t, in)
	wantParked(t, in, "parked a:1 1 retried panic: handler gone wrong")
	calm = true
	retry(t, in, c)
	wantApplied(t, in, "a:1 ")
	wantParked(t, in)
}

func TestAHandlerThatIsCutShortLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	in := mustNew(t, config(t, newDB(t)), On(func(ctx context.Context, tx Tx, e bus.Event, _ *eventsv1.UserCreated) error {
		if err := insert(ctx, tx, &e, ""); err != nil {
			return err
		}
		cancel() // the partition was taken away
		return insert(ctx, tx, &e, "")
	}))
	l := newTape(t, 1)
	l.resume(in)
	l.put(0, created(t, "a", 1, "A"))
	if err := in.handle(ctx, l.delivery(cut{0, 0, 1})); !errors.Is(err, context.Canceled) {
		t.Fatalf("the bus hears %v, want the context's error", err)
	}
	wantApplied(t, in)
	wantPositions(t, in, 0)
}
