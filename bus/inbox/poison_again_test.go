package inbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

// cutAt cuts the log, which keeps its id, as a broker does that has lost its end.
func (l *tape) cutAt(in *Inbox, n int, events ...bus.Event) {
	l.t.Helper()
	l.parts[0] = l.parts[0][:n]
	l.resume(in) // before the owner writes again: the positions are beyond the end, and go back to the start
	l.put(0, events...)
}

// What stands at the offset of a parked one, in a log that was cut and filled again, is neither the same nor done.
func TestALogThatWasCutLosesNothingThatIsParked(t *testing.T) {
	record := func(data string) bus.Event { return bus.Event{Key: "k", Data: []byte(data), Err: errTest} }
	p := &plan{left: map[string]int{"a:2": 1}}
	in, l, c := poisoned(t, p, every)
	l.put(0, created(t, "x", 1, ""), created(t, "x", 1, ""), created(t, "a", 1, ""), updated(t, "a", 2, ""), record("one"))
	l.all(in)
	l.cutAt(in, 1, created(t, "a", 1, ""), updated(t, "a", 2, ""), updated(t, "a", 3, ""), record("two"))
	l.all(in)
	wantParked(t, in, "dead k:0 test error", "parked a:2 1 retried test error", "dead k:0 test error", "behind a:3")
	// And what is read again stays as it is.
	mustExec(t, in.cfg.DB, `UPDATE tidings_inbox_position SET next = 0`)
	l.all(in)
	wantParked(t, in, "dead k:0 test error", "parked a:2 1 retried test error", "dead k:0 test error", "behind a:3")
	retry(t, in, c, p.over)
	wantApplied(t, in, "x:1 ", "a:1 ", "a:2 ", "a:3 ")
}

func TestADeadReactionOfALogThatWasCutIsKept(t *testing.T) {
	m := &mailer{do: func(context.Context, bus.Event) error { return bus.Permanent(errTest) }}
	in, l, p, _ := newMailer(t, m)
	l.put(0, created(t, "a", 1, ""), created(t, "b", 1, ""))
	for at := range int64(2) {
		l.play(in, cut{0, at, at + 1})
		p.step(t)
	}
	l.cutAt(in, 1, created(t, "c", 1, ""))
	mustExec(t, in.cfg.DB, `UPDATE tidings_inbox_position SET next = 1`)
	l.play(in, cut{0, 1, 2})
	p.step(t)
	wantParked(t, in, "dead a:1 1 test error", "dead b:1 1 test error", "dead c:1 1 test error")
}

// A version that a person has discarded comes again while one before it is still parked.
func TestALateEventDoesNotOvertakeTheParkedOne(t *testing.T) {
	p := &plan{left: map[string]int{"a:3": 1}}
	in, l, c := poisoned(t, p, every)
	l.put(0, created(t, "a", 1, ""), updated(t, "a", 2, ""), updated(t, "a", 3, ""), updated(t, "a", 4, ""), updated(t, "a", 5, ""))
	l.all(in)
	parking := openParking(t, in)
	rows, _ := parking.list(t, Filter{State: "behind"})
	if err := parking.Discard(t.Context(), rows[0].ID, "a test"); err != nil {
		t.Fatal(err)
	}
	if _, err := Rewind(t.Context(), in.cfg.DB, "test"); err != nil {
		t.Fatal(err)
	}
	l.all(in)
	wantParked(t, in, "parked a:3 1 retried test error", "behind a:5", "behind a:4")
	retry(t, in, c, p.over)
	wantApplied(t, in, "a:1 ", "a:2 ", "a:3 ", "a:4 ", "a:5 ")
	wantParked(t, in)
}

func TestAKeyThatGoesOnFailingIsToldOfOnce(t *testing.T) {
	p := &plan{left: map[string]int{"b:1": -1}}
	var logged logs
	in, l, _ := poisoned(t, p, func(c *Config) { c.Logger = logged.logger() })
	for v := uint64(1); v <= 5; v++ {
		p.left[fmt.Sprint("a:", v)] = -1
		l.put(0, updated(t, "a", v, ""))
		l.all(in)
	}
	l.put(0, created(t, "b", 1, ""))
	l.all(in)
	if n := strings.Count(logged.String(), "an event is parked"); n != 2 || !logged.has("ERROR", "an event is parked", "key=b") {
		t.Errorf("%d lines for two keys:\n%s", n, logged.String())
	}
}

// A person brings a reaction back while a delivery queues the next of its key: the first has to see the other, which
// may be performed as soon as it is committed.
func TestADeadReactionWaitsForADeliveryOfItsKeyOnPostgres(t *testing.T) {
	s := newService(t)
	in := s.replica([]Route{After(func(context.Context, bus.Event, *eventsv1.UserCreated) error { return bus.Permanent(errTest) })})
	p := &performer{Inbox: in, owner: "x"}
	hear(t, in, at0(created(t, "a", 1, "")))
	p.step(t)
	parking := openParking(t, in)
	id := parking.the(t, Filter{State: "dead"}).ID
	lease := time.Now().Add(time.Hour).UnixMilli()
	done := make(chan error, 1)
	_, err := in.transact(t.Context(), func(ctx context.Context, a *attempt) error {
		if err := a.deliver(ctx, bus.Delivery{Events: []bus.Event{at0(created(t, "a", 2, ""))}}); err != nil {
			return err
		}
		// It is claimed the moment it is committed.
		if _, err := a.tx.ExecContext(ctx, `UPDATE tidings_inbox_queue SET state = $1, due = $2`, string(Sending), lease); err != nil {
			return err
		}
		go func() {
			_, err := parking.Retry(context.Background(), id)
			done <- err
		}()
		eventually(t, func() string {
			if len(done) == 0 && s.waiting(in) == 0 {
				return "it neither waits nor ends"
			}
			return ""
		})
		return nil
	})
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	var first int64
	if err := in.cfg.DB.QueryRow(`SELECT due FROM tidings_inbox_queue ORDER BY seq LIMIT 1`).Scan(&first); err != nil || first < lease {
		t.Errorf("it is due %d ms before the other's lease has run out, %v", lease-first, err)
	}
}
