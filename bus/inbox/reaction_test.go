package inbox

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

// mailer is a reaction that a test watches.
type mailer struct {
	mu    sync.Mutex
	mails []string // "key:version", as performed
	do    func(ctx context.Context, e bus.Event) error
}

func (m *mailer) perform(ctx context.Context, e bus.Event, _ *eventsv1.UserCreated) error {
	m.mu.Lock()
	m.mails = append(m.mails, fmt.Sprintf("%s:%d", e.Key, e.Version))
	do := m.do
	m.mu.Unlock()
	if do == nil {
		return nil
	}
	return do(ctx, e)
}

func (m *mailer) sent() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mails)
}

// tracked makes a table that holds every change of state, in order, and the option that fills it.
func tracked(t testing.TB, in *Config) AfterOption {
	mustExec(t, in.DB, `CREATE TABLE IF NOT EXISTS progress (n INTEGER PRIMARY KEY AUTOINCREMENT, line TEXT)`)
	return Track(func(ctx context.Context, tx Tx, e bus.Event, p Progress) error {
		line := fmt.Sprintf("%s:%d %s %d", e.Key, e.Version, p.State, p.Attempts)
		if p.Error != "" {
			line += " " + p.Error
		}
		if !p.Next.IsZero() {
			line += fmt.Sprintf(" in %v", p.Next.Sub(p.Time).Round(time.Second))
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO progress (line) VALUES ($1)`, line)
		return err
	})
}

func wantProgress(t testing.TB, in *Inbox, want ...string) {
	t.Helper()
	var got []string
	err := query(t.Context(), in.cfg.DB, func(row scanner) error {
		var line string
		err := row.Scan(&line)
		got = append(got, line)
		return err
	}, `SELECT line FROM progress ORDER BY n`)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("progress (-want +got), %v:\n%s", err, diff)
	}
}

// newMailer makes an inbox with one reaction, a tape, and the performer that a test steps by itself.
func newMailer(t testing.TB, m *mailer, change ...func(*Config)) (*Inbox, *tape, *performer, *clock) {
	t.Helper()
	c, cfg := newClock(), config(t, newDB(t))
	c.config(&cfg)
	for _, f := range change {
		f(&cfg)
	}
	in, l := mustNew(t, cfg, After(m.perform, tracked(t, &cfg))), newTape(t, 1)
	l.resume(in)
	return in, l, &performer{Inbox: in, owner: uuid.NewString()}, c
}

// step lets the performer claim once what is due, and waits until it is done.
func (p *performer) step(t testing.TB) {
	t.Helper()
	if _, err := p.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.group.Wait()
}

// at makes the event of a user that was created at a time.
func at(when time.Time, e bus.Event) bus.Event {
	e.Time = when.UTC()
	return e
}

func TestAReactionIsQueuedWithItsMarkAndPerformedAfterTheCommit(t *testing.T) {
	m := &mailer{}
	in, l, p, c := newMailer(t, m)
	l.put(0, at(c.now, created(t, "a", 1, "A")), updated(t, "a", 2, "AA"), at(c.now, created(t, "b", 1, "B")))
	l.play(in, cut{0, 0, 3})
	if sent := m.sent(); len(sent) > 0 {
		t.Fatalf("%v were performed inside the transaction", sent)
	}
	wantStatus(t, in, Status{Keys: 2, Versions: 3, Ignored: 1, Queue: 2})
	mustExec(t, in.cfg.DB, `UPDATE tidings_inbox_position SET next = 0`)
	l.play(in, cut{0, 0, 3}) // redelivered: queued once
	p.step(t)
	p.step(t)
	sent := m.sent()
	slices.Sort(sent)
	if want := []string{"a:1", "b:1"}; !slices.Equal(sent, want) {
		t.Fatalf("performed %v, want %v", sent, want)
	}
	wantStatus(t, in, Status{Keys: 2, Versions: 3, Ignored: 1, Duplicates: 3})
}

func TestEachStateIsTrackedInItsTransaction(t *testing.T) {
	m := &mailer{do: func(context.Context, bus.Event) error { return bus.RetryAfter(time.Minute, errTest) }}
	in, l, p, c := newMailer(t, m, func(cfg *Config) { cfg.Attempts = 3 })
	l.put(0, created(t, "a", 1, "A"))
	l.play(in, cut{0, 0, 1})
	wantProgress(t, in, "a:1 queued 0")
	p.step(t)
	p.step(t) // too early
	c.pass(59 * time.Second)
	p.step(t) // still
	wantProgress(t, in, "a:1 queued 0", "a:1 sending 1", "a:1 retrying 1 test error in 1m0s")
	c.pass(time.Second)
	p.step(t)
	m.do = nil
	c.pass(time.Minute)
	p.step(t)
	wantProgress(t, in, "a:1 queued 0", "a:1 sending 1", "a:1 retrying 1 test error in 1m0s",
		"a:1 sending 2 test error", "a:1 retrying 2 test error in 1m0s", "a:1 sending 3 test error", "a:1 sent 3")
	wantStatus(t, in, Status{Keys: 1, Versions: 1})
}

func TestAReactionWhoseAttemptsAreSpentIsDead(t *testing.T) {
	for name, tt := range map[string]struct {
		err      error
		attempts int
	}{
		"spent":     {bus.RetryAfter(0, errTest), 2},
		"permanent": {bus.Permanent(errTest), 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := &mailer{do: func(_ context.Context, e bus.Event) error {
				if e.Version == 1 {
					return tt.err
				}
				return nil
			}}
			in, l, p, _ := newMailer(t, m, func(cfg *Config) { cfg.Attempts = 2 })
			l.put(0, created(t, "a", 1, "A"), created(t, "a", 2, "A"))
			l.play(in, cut{0, 0, 2})
			for range 4 {
				p.step(t)
			}
			wantStatus(t, in, Status{Keys: 1, Versions: 2, Parked: 1, Dead: 1})
			sent := m.sent()
			if len(sent) != tt.attempts+1 || sent[tt.attempts] != "a:2" {
				t.Fatalf("performed %v, want a:1 %d times and then a:2", sent, tt.attempts)
			}
			await(t, in, "a", 2) // the events are in this database, whatever became of the mail
			await(t, in, "a", 1)
		})
	}
}

func TestAKeysLaterReactionsWaitBehindOneThatIsRetried(t *testing.T) {
	m := &mailer{do: func(_ context.Context, e bus.Event) error {
		if e.Key == "a" && e.Version == 1 {
			return bus.RetryAfter(time.Hour, errTest)
		}
		return nil
	}}
	in, l, p, c := newMailer(t, m)
	l.put(0, created(t, "a", 1, ""), created(t, "a", 2, ""), created(t, "b", 1, ""), created(t, "b", 2, ""))
	l.play(in, cut{0, 0, 4})
	for range 5 {
		p.step(t)
	}
	sent := m.sent()
	slices.Sort(sent[:2])
	if want := []string{"a:1", "b:1", "b:2"}; !slices.Equal(sent, want) {
		t.Fatalf("performed %v, want %v", sent, want)
	}
	m.do = nil
	c.pass(time.Hour)
	p.step(t)
	p.step(t)
	if want := []string{"a:1", "b:1", "b:2", "a:1", "a:2"}; !slices.Equal(append(sent[:0:0], m.sent()[2:]...), want[2:]) {
		t.Fatalf("performed %v, want %v", m.sent(), want)
	}
}

func TestRetriesGrowAndAreBounded(t *testing.T) {
	last := time.Duration(0)
	for attempts := 1; attempts <= 30; attempts++ {
		d := retryDelay(attempts, errTest)
		full := min(firstRetry<<min(attempts-1, 20), longestRetry)
		if d < full/2 || d > full*3/2 {
			t.Fatalf("try %d is followed by a wait of %v, want about %v", attempts, d, full)
		}
		last = d
	}
	if last < longestRetry/2 {
		t.Fatalf("the longest wait is %v", last)
	}
	if d := retryDelay(5, fmt.Errorf("x: %w", bus.RetryAfter(3*time.Second, errTest))); d != 3*time.Second {
		t.Fatalf("RetryAfter is answered by a wait of %v", d)
	}
}

func TestOldEventsAreSkipped(t *testing.T) {
	m := &mailer{}
	in, l, p, c := newMailer(t, m, func(cfg *Config) { cfg.MaxAge = time.Hour })
	undated := created(t, "d", 1, "")
	undated.Time = time.Time{}
	l.put(0, at(c.now.Add(-2*time.Hour), created(t, "a", 1, "")), at(c.now.Add(-time.Hour), created(t, "b", 1, "")),
		at(c.now.Add(-time.Minute), created(t, "c", 1, "")), undated)
	l.play(in, cut{0, 0, 4})
	wantProgress(t, in, "a:1 skipped 0", "b:1 queued 0", "c:1 queued 0", "d:1 queued 0")
	c.pass(30 * time.Minute) // b grows too old while it is queued
	for range 2 {
		p.step(t)
	}
	sent := m.sent()
	slices.Sort(sent)
	if want := []string{"c:1", "d:1"}; !slices.Equal(sent, want) {
		t.Fatalf("performed %v, want %v", sent, want)
	}
	wantStatus(t, in, Status{Keys: 4, Versions: 4, Skipped: 2})
}

// What was tried, and failed, or was cut short by a kill, doesn't vanish for having grown old meanwhile.
func TestWhatWasTriedOnceIsNeverTooOld(t *testing.T) {
	m := &mailer{do: func(context.Context, bus.Event) error { return bus.RetryAfter(time.Hour, errTest) }}
	in, l, p, c := newMailer(t, m, func(cfg *Config) { cfg.MaxAge, cfg.Attempts = time.Hour, 2 })
	l.put(0, at(c.now, created(t, "a", 1, "")))
	l.play(in, cut{0, 0, 1})
	p.step(t)
	l.put(0, at(c.now, created(t, "b", 1, "")))
	l.play(in, cut{0, 1, 2})
	if claims, _, err := p.claim(t.Context(), nil); err != nil || len(claims) != 1 { // b, and then the process is killed
		t.Fatalf("claimed %v, %v", claims, err)
	}
	l.put(0, at(c.now, created(t, "c", 1, "")))
	l.play(in, cut{0, 2, 3})
	mustExec(t, in.cfg.DB, `UPDATE tidings_inbox_queue SET error = 'it was dead, and a person has put it back' WHERE key = 'c'`)
	c.pass(2 * time.Hour)
	next := &performer{Inbox: in, owner: uuid.NewString()}
	next.step(t)
	next.step(t)
	wantStatus(t, in, Status{Keys: 3, Versions: 3, Queue: 1, Parked: 2, Dead: 2})
	if sent := m.sent(); len(sent) != 4 {
		t.Fatalf("performed %v, want a twice, b once more, and c", sent)
	}
}

func TestAKilledTryIsRepeatedOnceItsLeaseHasRunOut(t *testing.T) {
	m := &mailer{}
	var logged logs
	in, l, p, c := newMailer(t, m, func(cfg *Config) { cfg.Logger = logged.logger() })
	l.put(0, created(t, "a", 1, ""))
	l.play(in, cut{0, 0, 1})
	if claims, _, err := p.claim(t.Context(), nil); err != nil || len(claims) != 1 { // and then the process is killed
		t.Fatalf("claimed %v, %v", claims, err)
	}
	next := &performer{Inbox: in, owner: uuid.NewString()}
	c.pass(2*in.cfg.Timeout - time.Millisecond)
	next.step(t)
	if sent := m.sent(); len(sent) > 0 {
		t.Fatalf("performed %v though the lease has not run out", sent)
	}
	c.pass(time.Millisecond)
	next.step(t)
	wantProgress(t, in, "a:1 queued 0", "a:1 sending 1", "a:1 sending 2", "a:1 sent 2")
	if !logged.has("performed again", "key=a") {
		t.Fatalf("the log doesn't tell: %s", logged.String())
	}
}

func TestOneWhoLostItsLeaseLeavesTheRowToTheOther(t *testing.T) {
	for name, outcome := range map[string]error{"sent": nil, "failed": errTest, "refused": bus.Permanent(errTest)} {
		t.Run(name, func(t *testing.T) {
			var other *performer
			var claims []claimed
			var c *clock
			m := &mailer{do: func(ctx context.Context, _ bus.Event) (err error) {
				c.pass(time.Hour) // a pause past the lease, in which another replica takes over
				if claims, _, err = other.claim(ctx, nil); err != nil {
					return err
				}
				return outcome
			}}
			in, l, p, clock := newMailer(t, m)
			c, other = clock, &performer{Inbox: in, owner: uuid.NewString()}
			l.put(0, created(t, "a", 1, ""))
			l.play(in, cut{0, 0, 1})
			p.step(t)
			wantProgress(t, in, "a:1 queued 0", "a:1 sending 1", "a:1 sending 2")
			wantStatus(t, in, Status{Keys: 1, Versions: 1, Queue: 1})
			m.do = nil
			other.perform(t.Context(), claims[0])
			wantProgress(t, in, "a:1 queued 0", "a:1 sending 1", "a:1 sending 2", "a:1 sent 2")
			wantStatus(t, in, Status{Keys: 1, Versions: 1})
		})
	}
}

func TestATryThatOverrunsItsLeaseIsNotBegunAgainBesideItself(t *testing.T) {
	var p *performer
	var c *clock
	m := &mailer{}
	m.do = func(ctx context.Context, e bus.Event) error {
		if e.Key == "b" {
			return nil
		}
		c.pass(time.Hour)
		if due, err := p.nextDue(ctx); err != nil || !due.Equal(time.UnixMilli(c.now.Add(-time.Hour).UnixMilli())) {
			t.Errorf("next due is %v, %v; want the other reaction's time", due, err)
		}
		claims, _, err := p.claim(ctx, []int64{1})
		if err != nil || len(claims) != 1 || claims[0].ev.Key != "b" {
			t.Errorf("claimed %v, %v; want the other reaction only", claims, err)
		}
		return nil
	}
	in, l, first, clock := newMailer(t, m, func(cfg *Config) { cfg.Workers = 3 })
	p, c = first, clock
	l.put(0, created(t, "a", 1, ""))
	l.play(in, cut{0, 0, 1})
	claims, _, err := p.claim(t.Context(), nil)
	if err != nil || len(claims) != 1 {
		t.Fatalf("claimed %v, %v", claims, err)
	}
	l.put(0, created(t, "b", 1, ""))
	l.play(in, cut{0, 1, 2})
	p.begin(claims[0].seq)
	p.perform(t.Context(), claims[0])
}

func TestNoMoreAreBegunThanThereAreWorkers(t *testing.T) {
	end := make(chan struct{})
	m := &mailer{do: func(context.Context, bus.Event) error { <-end; return nil }}
	in, l, p, _ := newMailer(t, m, func(cfg *Config) { cfg.Workers = 3 })
	for i := range 5 {
		l.put(0, created(t, fmt.Sprint("k", i), 1, ""))
	}
	l.play(in, cut{0, 0, 5})
	for range 3 {
		if _, err := p.start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(p.busy); n != 3 {
		t.Errorf("%d are being performed, want 3", n)
	}
	if due, err := p.nextDue(t.Context()); err != nil || !due.IsZero() {
		t.Errorf("next due is %v, %v; want none while no worker is free", due, err)
	}
	close(end)
	p.group.Wait()
}

func TestATryThatIsCutShortByTheStopIsNotCounted(t *testing.T) {
	m := &mailer{}
	in, l, p, _ := newMailer(t, m, func(cfg *Config) { cfg.Attempts = 1 })
	l.put(0, created(t, "a", 1, ""))
	l.play(in, cut{0, 0, 1})
	claims, _, err := p.claim(t.Context(), nil)
	if err != nil || len(claims) != 1 {
		t.Fatalf("claimed %v, %v", claims, err)
	}
	err = in.writer.InTx(t.Context(), func(ctx context.Context, tx Tx) error {
		return p.settle(ctx, tx, &claims[0], context.Canceled, true)
	})
	if err != nil {
		t.Fatal(err)
	}
	p.step(t) // after the restart, at once
	wantProgress(t, in, "a:1 queued 0", "a:1 sending 1", "a:1 retrying 0 context canceled in 0s", "a:1 sending 1 context canceled", "a:1 sent 1")
}

func TestATryIsBoundedInTime(t *testing.T) {
	m := &mailer{do: func(ctx context.Context, _ bus.Event) error {
		<-ctx.Done()
		return ctx.Err()
	}}
	in, l, p, _ := newMailer(t, m, func(cfg *Config) { cfg.Timeout = 10 * time.Millisecond; cfg.Attempts = 1 })
	l.put(0, created(t, "a", 1, ""))
	l.play(in, cut{0, 0, 1})
	p.step(t)
	wantProgress(t, in, "a:1 queued 0", "a:1 sending 1", "a:1 dead 1 context deadline exceeded")
}

func TestAReactionThatPanicsIsRetried(t *testing.T) {
	m := &mailer{do: func(context.Context, bus.Event) error { panic("no") }}
	in, l, p, _ := newMailer(t, m, func(cfg *Config) { cfg.Attempts = 1 })
	l.put(0, created(t, "a", 1, ""))
	l.play(in, cut{0, 0, 1})
	p.step(t)
	wantProgress(t, in, "a:1 queued 0", "a:1 sending 1", "a:1 dead 1 panic: no")
}

func TestAnErrorOfTheTrackerUndoesTheChange(t *testing.T) {
	fail := Queued
	c, cfg := newClock(), config(t, newDB(t))
	c.config(&cfg)
	m := &mailer{}
	in := mustNew(t, cfg, After(m.perform, Track(func(_ context.Context, _ Tx, _ bus.Event, p Progress) error {
		if p.State == fail {
			return errTest
		}
		return nil
	})))
	l := newTape(t, 1)
	l.resume(in)
	l.put(0, created(t, "a", 1, ""))
	l.play(in, cut{0, 0, 1})
	wantStatus(t, in, Status{Keys: 1, Versions: 1, Parked: 1})
	fail = Sending
	retry(t, in, c)
	p := &performer{Inbox: in, owner: "x"}
	if _, err := p.start(t.Context()); !errors.Is(err, errTest) || len(m.sent()) > 0 {
		t.Fatalf("start = %v and performed %v; want the tracker's error and nothing", err, m.sent())
	}
	wantStatus(t, in, Status{Keys: 1, Versions: 1, Queue: 1})
}

func TestAReactionThatThisProgramNoLongerHasIsDead(t *testing.T) {
	m := &mailer{}
	in, l, _, _ := newMailer(t, m)
	l.put(0, created(t, "a", 1, ""))
	l.play(in, cut{0, 0, 1})
	in = mustNew(t, in.cfg, After(func(context.Context, bus.Event, *eventsv1.UserDeleted) error { return nil }))
	(&performer{Inbox: in, owner: "x"}).step(t)
	wantStatus(t, in, Status{Keys: 1, Versions: 1, Parked: 1, Dead: 1})
}

func TestEffectAndReactionOfOneTypeAreStoredTogether(t *testing.T) {
	m := &mailer{}
	in, l := mustNew(t, config(t, newDB(t)), recordAll()[0], After(m.perform)), newTape(t, 1)
	l.resume(in)
	bad := created(t, "bad", 1, "")
	bad.Data = []byte{0xff}
	l.put(0, created(t, "a", 1, "A"), bad)
	l.play(in, cut{0, 0, 2})
	wantApplied(t, in, "a:1 A")
	wantStatus(t, in, Status{Keys: 2, Versions: 2, Queue: 1, Parked: 1, Dead: 1})
}

func TestRunPerformsManyAtOnceAndEachKeyInOrder(t *testing.T) {
	const keys, versions = 30, 4
	var mu sync.Mutex
	busy, most := map[string]bool{}, 0
	m := &mailer{do: func(_ context.Context, e bus.Event) error {
		mu.Lock()
		defer mu.Unlock()
		if busy[e.Key] {
			t.Errorf("two reactions of key %s at once", e.Key)
		}
		busy[e.Key] = true
		most = max(most, len(busy))
		mu.Unlock()
		<-time.After(time.Millisecond)
		mu.Lock()
		delete(busy, e.Key)
		return nil
	}}
	in := mustNew(t, config(t, newDB(t)), After(m.perform))
	r := newRecorder(t)
	for v := range versions {
		for k := range keys {
			publish(t, r, created(t, fmt.Sprint("k", k), uint64(v+1), ""))
		}
	}
	stop := run(t, in, r)
	eventually(t, func() string {
		if n := len(m.sent()); n < keys*versions || status(t, in).Queue > 0 {
			return fmt.Sprintf("%d of %d reactions were performed", n, keys*versions)
		}
		return ""
	})
	stop()
	wantOrderWithinKeys(t, m.sent())
	if most < 2 || most > defaultWorkers {
		t.Errorf("at most %d were performed at once, want 2 to %d", most, defaultWorkers)
	}
}

func TestARestartGoesOnWithWhatIsQueued(t *testing.T) {
	db := openDB(t, filepath.Join(t.TempDir(), "x.db"))
	fail := &mailer{do: func(context.Context, bus.Event) error { return bus.RetryAfter(time.Millisecond, errTest) }}
	in := mustNew(t, config(t, db), After(fail.perform))
	r := newRecorder(t)
	publish(t, r, created(t, "a", 1, ""))
	stop := run(t, in, r)
	eventually(t, func() string {
		if len(fail.sent()) < 3 {
			return "it was not tried three times"
		}
		return ""
	})
	stop()
	m := &mailer{}
	in = mustNew(t, config(t, db), After(m.perform))
	run(t, in, r)
	eventually(t, func() string {
		if status(t, in).Queue > 0 {
			return "the queue was not worked off after the restart"
		}
		return ""
	})
	if sent := m.sent(); !slices.Equal(sent, []string{"a:1"}) {
		t.Fatalf("performed %v after the restart, want a:1", sent)
	}
}

func TestStoppingLetsAReactionEnd(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	m := &mailer{do: func(ctx context.Context, _ bus.Event) error {
		close(begun)
		<-end
		return ctx.Err()
	}}
	in := mustNew(t, config(t, newDB(t)), After(m.perform))
	r := newRecorder(t)
	publish(t, r, created(t, "a", 1, ""))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- in.Run(ctx, r) }()
	<-begun
	cancel()
	close(end)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantStatus(t, in, Status{Keys: 1, Versions: 1, Lag: 0}) // sent, and out of the queue
}
