package inbox

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"google.golang.org/protobuf/proto"
)

// twins are the events of one change of a user, best first: a creation where it is version 1.
func twins(t testing.TB, key string, v uint64, name string) []bus.Event {
	t.Helper()
	v1 := &eventsv1.User{Id: key, Name: name, Version: v}
	v2 := upUser(v1)
	messages := []proto.Message{&eventsv2.UserUpdated{User: v2}, &eventsv1.UserUpdated{User: v1}}
	if v == 1 {
		messages = []proto.Message{&eventsv2.UserCreated{User: v2}, &eventsv1.UserCreated{User: v1}}
	}
	events, err := bus.NewTwins(source, key, v, messages...)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// twinsUpTo are those of a key's versions from first to last.
func twinsUpTo(t testing.TB, key string, first, last uint64) (all []bus.Event) {
	t.Helper()
	for v := first; v <= last; v++ {
		all = append(all, twins(t, key, v, "Ann")...)
	}
	return all
}

// ofV1 and ofV2 are the messages that have a whole user.
type ofV1 interface {
	proto.Message
	GetUser() *eventsv1.User
}

type ofV2 interface {
	proto.Message
	GetUser() *eventsv2.User
}

func takeV1[M ofV1](ctx context.Context, tx Tx, e bus.Event, m M) error {
	return insert(ctx, tx, &e, "v1 "+m.GetUser().GetName())
}

func takeV2[M ofV2](ctx context.Context, tx Tx, e bus.Event, m M) error {
	return insert(ctx, tx, &e, "v2 "+m.GetUser().GetName().GetGiven())
}

func upUser(u *eventsv1.User) *eventsv2.User {
	return &eventsv2.User{Id: u.GetId(), Name: &eventsv2.PersonName{Given: u.GetName()}, Version: u.GetVersion()}
}

func upCreated(_ bus.Event, m *eventsv1.UserCreated) (*eventsv2.UserCreated, error) {
	return &eventsv2.UserCreated{User: upUser(m.GetUser())}, nil
}

func upUpdated(_ bus.Event, m *eventsv1.UserUpdated) (*eventsv2.UserUpdated, error) {
	return &eventsv2.UserUpdated{User: upUser(m.GetUser())}, nil
}

// Releases of a service, by what they read.
func readsV1() []Route {
	return []Route{On(takeV1[*eventsv1.UserCreated]), On(takeV1[*eventsv1.UserUpdated])}
}

func readsV2() []Route {
	return []Route{On(takeV2[*eventsv2.UserCreated]), On(takeV2[*eventsv2.UserUpdated])}
}

func readsBoth() []Route { return append(readsV2(), Upcast(upCreated), Upcast(upUpdated)) }

// failing makes routes fail at an event for as long as the text says its "key:version".
func failing(at *string, routes []Route) []Route {
	for i := range routes {
		if do := routes[i].event; do != nil {
			routes[i].event = func(ctx context.Context, tx Tx, e *bus.Event, m proto.Message) error {
				if fmt.Sprintf("%s:%d", e.Key, e.Version) == *at {
					return errTest
				}
				return do(ctx, tx, e, m)
			}
		}
	}
	return routes
}

func TestEachReaderTakesTheBestTwinThatItCanRead(t *testing.T) {
	for name, tt := range map[string]struct {
		routes     []Route
		want       []string
		duplicates int64
	}{
		"v1 only":             {readsV1(), []string{"a:1 v1 Ann", "a:2 v1 Ann"}, 0},
		"v2 only":             {readsV2(), []string{"a:1 v2 Ann", "a:2 v2 Ann"}, 0},
		"both, by conversion": {readsBoth(), []string{"a:1 v2 Ann", "a:2 v2 Ann"}, 2},
		"both, by routes":     {append(readsV1(), readsV2()...), []string{"a:1 v2 Ann", "a:2 v2 Ann"}, 2},
		"any": {[]Route{Any(func(ctx context.Context, tx Tx, batch []bus.Event) error {
			for _, e := range batch {
				if err := insert(ctx, tx, &e, strings.Split(e.Type, ".")[2]); err != nil {
					return err
				}
			}
			return nil
		})}, []string{"a:1 v2", "a:2 v2"}, 2},
	} {
		for _, gaps := range []Gaps{Newest, Every} {
			t.Run(fmt.Sprint(name, gaps), func(t *testing.T) {
				cfg := config(t, newDB(t))
				cfg.Gaps, cfg.Unknown = gaps, Park
				in, l := mustNew(t, cfg, tt.routes...), newTape(t, 1)
				l.put(0, twinsUpTo(t, "a", 1, 2)...)
				l.rest(in)
				wantApplied(t, in, tt.want...)
				wantStatus(t, in, Status{Keys: 1, Versions: 2, Duplicates: tt.duplicates})
				if next := l.resume(in)[0]; next != 4 {
					t.Errorf("position %d, want 4", next)
				}
			})
		}
	}
}

// What is passed over is not there: neither as a version, nor as a gap, nor to fill one.
func TestAnEventThatIsPassedOverBridgesNoGap(t *testing.T) {
	for gaps, want := range map[Gaps]Status{
		Newest: {Keys: 1, Versions: 3, Missing: 1},
		Every:  {Keys: 1, Versions: 1, Waiting: 1},
	} {
		cfg := config(t, newDB(t))
		cfg.Gaps = gaps
		in, l := mustNew(t, cfg, readsV1()...), newTape(t, 1)
		events := twinsUpTo(t, "a", 1, 3)
		l.put(0, events[0], events[1], events[2], events[4], events[5]) // version 2 of v1 is missing
		l.rest(in)
		wantStatus(t, in, want)
	}
}

func TestNeitherTwinIsPassedOverWhereNeitherCanBeRead(t *testing.T) {
	for unknown, want := range map[Unknown]Status{
		Ignore: {Keys: 1, Versions: 1, Ignored: 1, Duplicates: 1},
		Park:   {Keys: 1, Versions: 1, Parked: 1, Duplicates: 1},
	} {
		cfg := config(t, newDB(t))
		cfg.Unknown = unknown
		in, l := mustNew(t, cfg, On(takeV1[*eventsv1.UserUpdated])), newTape(t, 1)
		l.put(0, twins(t, "a", 1, "Ann")...)
		l.all(in)
		wantStatus(t, in, want)
	}
}

// What was passed over was not ignored. But where both were ignored, a release that takes either has missed them.
func TestARebuildIsDueForIgnoredTwinsOnly(t *testing.T) {
	var logged logs
	cfg := config(t, newDB(t))
	cfg.Logger = logged.logger()
	in, l := mustNew(t, cfg, On(takeV1[*eventsv1.UserCreated])), newTape(t, 1)
	l.put(0, twinsUpTo(t, "a", 1, 2)...)
	l.all(in)
	wantStatus(t, in, Status{Keys: 1, Versions: 2, Ignored: 1, Duplicates: 1})
	mustNew(t, cfg, On(takeV2[*eventsv2.UserCreated]), Upcast(upCreated))
	if logged.has("a rebuild is due") {
		t.Errorf("a rebuild for what was not ignored: %s", logged.String())
	}
	mustNew(t, cfg, readsV1()...)
	if !logged.has("a rebuild is due", "type=users.events.v1.UserUpdated") {
		t.Errorf("no rebuild for what was ignored: %s", logged.String())
	}
	mustNew(t, cfg, readsV2()...)
	if !logged.has("a rebuild is due", "type=users.events.v2.UserUpdated", "ignored=1") {
		t.Errorf("no rebuild for what was ignored: %s", logged.String())
	}
	wantStatus(t, in, Status{Keys: 1, Versions: 2, Ignored: 1, Duplicates: 1})
}

// The numbers of a bus without a log are its own: what is passed over was heard.
func TestTheNumberOfAnEventThatIsPassedOverIsHeard(t *testing.T) {
	in := mustNew(t, config(t, newDB(t)), readsV1()...)
	log := bus.SeqLogFirst + "x"
	for i, e := range twinsUpTo(t, "a", 1, 3) {
		if i == 3 {
			continue // version 2 of v1 is lost
		}
		hear(t, in, numbered(e, log, uint64(i+1)))
	}
	wantStreams(t, in, Stream{SeqLog: log, First: 1, Highest: 6, Missed: 1})
	wantApplied(t, in, "a:1 v1 Ann", "a:3 v1 Ann")
	if s := status(t, in); s.Missing != 1 || s.Ignored != 0 || s.Duplicates != 0 {
		t.Errorf("status is %+v", s)
	}
}

// Other sources, and nonsense from this one, change nothing but themselves.
func TestHostileAlternativesAreHarmless(t *testing.T) {
	cfg := config(t, newDB(t))
	cfg.Sources = []string{source}
	in, l := mustNew(t, cfg, readsV1()...), newTape(t, 1)
	hostile := func(change func(*bus.Event)) {
		e := updated(t, "a", 1, "")
		e.Type, e.Ext = "strange.v9.Type", map[string]string{"alternatives": "strange.v9.Type"}
		change(&e)
		l.put(0, e)
	}
	hostile(func(e *bus.Event) { e.Source = "/others"; e.Ext["alternatives"] = "users.events.v1.UserUpdated" })
	hostile(func(e *bus.Event) { e.Key = "b" })
	hostile(func(e *bus.Event) {
		e.Key, e.Version = "b", 2
		e.Ext["alternatives"] = strings.Repeat(" , x.v1.T", 5000) + ",users.events.v1.UserUpdated"
	})
	hostile(func(e *bus.Event) { e.Version, e.Ext["alternatives"] = 7, "\x00,users.events.v1.UserUpdated" })
	hostile(func(e *bus.Event) { e.Version, e.Ext["alternatives"] = 0, "users.events.v1.UserUpdated" })
	for i := range 200 { // names without end
		hostile(func(e *bus.Event) {
			e.Key, e.Version = "c", uint64(i+1)
			e.Ext["alternatives"] = fmt.Sprintf("n%d.A,n%d.B,n%d.C", i, i, i)
		})
	}
	l.put(0, twins(t, "a", 1, "Ann")...)
	l.all(in)
	wantApplied(t, in, "a:1 v1 Ann")
	wantStatus(t, in, Status{Keys: 3, Versions: 1 + 2 + 200, Ignored: 1 + 2 + 200})
	var rows int
	if err := cfg.DB.QueryRow(`SELECT COUNT(*) FROM tidings_inbox_ignored`).Scan(&rows); err != nil || rows > maxNamed+1 {
		t.Errorf("%d rows of what was ignored, %v", rows, err)
	}
}

// A consumer is upgraded, or taken back, when it has stored its position behind the first twin.
func TestAnotherReleaseBetweenTheTwins(t *testing.T) {
	for name, tt := range map[string]struct {
		before, after []Route
		want          string
		duplicates    int64
	}{
		"upgrade":   {readsV1(), readsBoth(), "a:1 v2 Ann", 0},
		"downgrade": {readsBoth(), readsV1(), "a:1 v2 Ann", 1},
		// Documented: the upgrade has to read v1 for as long as the log holds it.
		"upgrade that reads v2 only": {readsV1(), readsV2(), "", 0},
	} {
		for _, gaps := range []Gaps{Newest, Every} {
			t.Run(fmt.Sprint(name, gaps), func(t *testing.T) {
				cfg := config(t, newDB(t))
				cfg.Gaps = gaps
				l := newTape(t, 1)
				l.put(0, twins(t, "a", 1, "Ann")...)
				in := mustNew(t, cfg, tt.before...)
				l.resume(in)
				l.play(in, cut{0, 0, 1})
				in = mustNew(t, cfg, tt.after...)
				if next := l.resume(in)[0]; next != 1 {
					t.Fatalf("it goes on at %d", next)
				}
				l.play(in, cut{0, 1, 2})
				if tt.want == "" {
					wantApplied(t, in)
					wantStatus(t, in, Status{})
					return
				}
				wantApplied(t, in, tt.want)
				wantStatus(t, in, Status{Keys: 1, Versions: 1, Duplicates: tt.duplicates})
			})
		}
	}
}

// An older release leaves alone what a newer one has parked, and takes what comes after as its kind of handler does.
func TestWhatANewerReleaseHasParkedWaitsForIt(t *testing.T) {
	for _, gaps := range []Gaps{Newest, Every} {
		t.Run(fmt.Sprint(gaps), func(t *testing.T) {
			bad, c, cfg := "a:2", newClock(), config(t, newDB(t))
			c.config(&cfg)
			cfg.Gaps, cfg.Attempts = gaps, 3
			in, l := mustNew(t, cfg, failing(&bad, readsBoth())...), newTape(t, 1)
			l.put(0, twinsUpTo(t, "a", 1, 2)...)
			l.all(in)
			wantApplied(t, in, "a:1 v2 Ann")

			in = mustNew(t, cfg, readsV1()...) // and so is taken back
			const why = "this release reads users.events.v1.UserUpdated and not users.events.v2.UserUpdated: another release has stored it, and it waits for one that can read it"
			for range 10 {
				c.pass(10 * time.Minute)
				step(t, in)
				wantParked(t, in, "parked a:2 1 retried "+why)
			}
			if gaps == Every {
				l.put(0, twinsUpTo(t, "a", 3, 3)...)
				l.all(in)
				wantParked(t, in, "parked a:2 1 retried "+why, "behind a:3")
			}

			in = mustNew(t, cfg, readsBoth()...)
			retry(t, in, c)
			want := []string{"a:1 v2 Ann", "a:2 v2 Ann", "a:3 v2 Ann"}
			wantApplied(t, in, want[:status(t, in).Versions]...)
			if s := status(t, in); s.Parked+s.Behind+s.Ignored != 0 {
				t.Errorf("status is %+v", s)
			}
		})
	}
}

// What is told by the newer type alone has no twin to wait for, and yet is not thrown away: the older release counts what it
// ignores, and leaves the row to a person and the newer release.
func TestWhatANewerReleaseHasParkedOfATypeAloneStays(t *testing.T) {
	for _, gaps := range []Gaps{Newest, Every} {
		t.Run(fmt.Sprint(gaps), func(t *testing.T) {
			bad, c, cfg := "a:2", newClock(), config(t, newDB(t))
			c.config(&cfg)
			cfg.Gaps = gaps
			in, l := mustNew(t, cfg, failing(&bad, readsBoth())...), newTape(t, 1)
			for _, e := range twinsUpTo(t, "a", 1, 2) {
				if e.Ext = nil; strings.HasPrefix(e.Type, "users.events.v2.") {
					l.put(0, e)
				}
			}
			l.all(in)
			wantApplied(t, in, "a:1 v2 Ann")
			in = mustNew(t, cfg, readsV1()...)
			c.pass(10 * time.Minute)
			step(t, in)
			p := openParking(t, in)
			row := p.the(t, Filter{})
			if row.State != "unknown" || row.Version != 2 {
				t.Fatalf("the row is %+v", row)
			}
			bad = ""
			in = mustNew(t, cfg, readsBoth()...)
			if n, err := p.Retry(t.Context(), row.ID); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			retry(t, in, c)
			wantApplied(t, in, "a:1 v2 Ann", "a:2 v2 Ann")
		})
	}
}

// The other way round: what an older release has parked, and kept behind it, goes to the new handlers.
func TestWhatAnOlderReleaseHasParkedIsConverted(t *testing.T) {
	bad, c, cfg := "a:2", newClock(), config(t, newDB(t))
	c.config(&cfg)
	cfg.Gaps = Every
	in, l := mustNew(t, cfg, failing(&bad, readsV1())...), newTape(t, 1)
	l.put(0, twinsUpTo(t, "a", 1, 3)...)
	l.all(in)
	wantParked(t, in, "parked a:2 1 retried test error", "behind a:3")
	in = mustNew(t, cfg, readsV2()...) // too early: it reads v1 no more
	for range 3 {
		c.pass(10 * time.Minute)
		step(t, in)
	}
	if s := status(t, in); s.Parked != 1 || s.Behind != 1 || s.Dead != 0 {
		t.Fatalf("status is %+v", s)
	}
	in = mustNew(t, cfg, readsBoth()...)
	retry(t, in, c)
	wantApplied(t, in, "a:1 v1 Ann", "a:2 v2 Ann", "a:3 v2 Ann")
}

// A projection's next version makes up for what is parked, whichever release has parked it.
func TestTheNextVersionMakesUpForWhatANewerReleaseHasParked(t *testing.T) {
	bad, cfg := "a:1", config(t, newDB(t))
	in, l := mustNew(t, cfg, failing(&bad, readsBoth())...), newTape(t, 1)
	l.put(0, twinsUpTo(t, "a", 1, 1)...)
	l.all(in)
	in = mustNew(t, cfg, readsV1()...)
	l.put(0, twinsUpTo(t, "a", 2, 2)...)
	l.all(in)
	wantApplied(t, in, "a:2 v1 Ann")
	wantParked(t, in)
}

// What a newer release holds back can't be read here when its turn comes. Its twin was discarded for it.
func TestWhatANewerReleaseHoldsBackWaitsForIt(t *testing.T) {
	for name, late := range map[string]bool{"the missing one comes": false, "nothing comes": true} {
		t.Run(name, func(t *testing.T) {
			c, cfg := newClock(), config(t, newDB(t))
			c.config(&cfg)
			cfg.Gaps = Every
			in, l := mustNew(t, cfg, readsBoth()...), newTape(t, 1)
			events := twinsUpTo(t, "a", 1, 4)
			l.put(0, events[0], events[1], events[4], events[5]) // version 3 before 2
			l.all(in)
			wantStatus(t, in, Status{Keys: 1, Versions: 1, Waiting: 1, Duplicates: 2})

			in = mustNew(t, cfg, readsV1()...)
			want := []string{"a:1 v2 Ann", "a:2 v1 Ann", "a:3 v2 Ann", "a:4 v2 Ann"}
			if late {
				c.release(in)
				want = []string{want[0], want[2], want[3]}
			} else {
				l.put(0, events[2], events[3])
			}
			l.put(0, events[6], events[7])
			l.all(in)
			if s := status(t, in); s.Waiting != 0 || s.Parked != 1 || s.Behind != 1 || s.Ignored != 0 {
				t.Fatalf("status is %+v", s)
			}

			in = mustNew(t, cfg, readsBoth()...)
			retry(t, in, c)
			wantApplied(t, in, want...)
		})
	}
}

// Many keys that wait for another release say nothing about this one's handlers.
func TestWhatWaitsForAnotherReleaseIsNoBadRelease(t *testing.T) {
	const keys = badKeys + 1
	bad, cfg := "bad:1", config(t, newDB(t))
	cfg.Gaps = Every
	in, l := mustNew(t, cfg, readsBoth()...), newTape(t, 1)
	var missing []bus.Event
	for k := range keys {
		key := fmt.Sprintf("k%03d", k)
		l.put(0, created(t, key, 1, ""))
		l.put(0, twins(t, key, 3, "")...)
		missing = append(missing, twins(t, key, 2, "")...)
	}
	l.all(in)
	in = mustNew(t, cfg, failing(&bad, readsV1())...)
	l.put(0, append(missing, created(t, "bad", 1, ""))...) // one that fails, and so over half of what is taken here
	l.all(in)
	if s := status(t, in); s.Waiting != 0 || s.Parked != keys+1 {
		t.Errorf("status is %+v", s)
	}
	var failed int
	if err := cfg.DB.QueryRow(`SELECT SUM(failed) FROM tidings_inbox_pace`).Scan(&failed); err != nil || failed != 1 {
		t.Errorf("%d events count as failed, %v", failed, err)
	}
}

// welcomer is a reaction, as its releases perform it.
type welcomer struct{ mailer }

func (w *welcomer) v1(ctx context.Context, e bus.Event, m *eventsv1.UserCreated) error {
	return w.perform(ctx, e, m)
}

func (w *welcomer) v2(ctx context.Context, e bus.Event, m *eventsv2.UserCreated) error {
	e.Key += " v2 " + m.GetUser().GetName().GetGiven() + " " + e.Type
	return w.perform(ctx, e, nil)
}

// release makes the inbox of a release, and its performer.
func (w *welcomer) release(t testing.TB, cfg Config, both bool) (*Inbox, *performer) {
	t.Helper()
	routes := []Route{After(w.v1, tracked(t, &cfg))}
	if both {
		routes = []Route{After(w.v2, tracked(t, &cfg)), Upcast(upCreated)}
	}
	in := mustNew(t, cfg, routes...)
	return in, &performer{Inbox: in, owner: uuid.NewString()}
}

func TestAReactionBetweenTheTwins(t *testing.T) {
	const (
		v1 = "a:1"
		up = "a v2 Ann users.events.v1.UserCreated:1" // the event as it came
		v2 = "a v2 Ann users.events.v2.UserCreated:1"
	)
	for name, tt := range map[string]struct {
		before, between, after bool // whether the release of then reads v2, too
		performed              string
	}{
		"upgrade before it is queued":      {false, true, true, up},
		"upgrade before it is performed":   {false, false, true, up},
		"downgrade after it is performed":  {true, true, true, v2},
		"downgrade before it is performed": {true, false, true, v2},
		"no change":                        {false, false, false, v1},
	} {
		t.Run(name, func(t *testing.T) {
			w, l, c, cfg := &welcomer{}, newTape(t, 1), newClock(), config(t, newDB(t))
			c.config(&cfg)
			l.put(0, twins(t, "a", 1, "Ann")...)
			for i, both := range []bool{tt.before, tt.between, tt.after} {
				in, p := w.release(t, cfg, both)
				if i < 2 {
					l.resume(in)
					l.play(in, cut{0, int64(i), int64(i + 1)})
				}
				if i == 2 || both && !tt.before || both && tt.between {
					c.pass(2 * restUnread)
					p.step(t)
				}
				if i == 1 && !both && tt.before { // what this one can't perform stays where it is
					c.pass(time.Hour)
					p.step(t)
					wantStatus(t, in, Status{Keys: 1, Versions: 1, Duplicates: 1, Queue: 1})
				}
			}
			if diff := cmp.Diff([]string{tt.performed}, w.sent()); diff != "" {
				t.Error(diff)
			}
			in, p := w.release(t, cfg, true)
			p.step(t)
			wantProgress(t, in, "a:1 queued 0", "a:1 sending 1", "a:1 sent 1")
			if s := status(t, in); s.Queue != 0 || s.Parked != 0 || len(w.sent()) != 1 {
				t.Errorf("status is %+v", s)
			}
		})
	}
}

// A reaction that waits for another release keeps its key's order, and is never too old: the one that reads it decides.
func TestAReactionThatWaitsForAnotherReleaseKeepsItsPlace(t *testing.T) {
	w, l, c, cfg := &welcomer{}, newTape(t, 1), newClock(), config(t, newDB(t))
	c.config(&cfg)
	both, _ := w.release(t, cfg, true)
	first, second := twins(t, "a", 1, "Ann"), created(t, "a", 2, "Ann")
	l.put(0, append(first, second)...)
	l.resume(both)
	l.play(both, cut{0, 0, 2})

	cfg.MaxAge = time.Nanosecond
	c.now = first[0].Time.Add(time.Hour)
	old, p := w.release(t, cfg, false)
	cfg.MaxAge = 0
	l.play(old, cut{0, 2, 3})
	p.step(t)
	wantStatus(t, old, Status{Keys: 1, Versions: 2, Duplicates: 1, Queue: 1, Skipped: 1})
	old, p = w.release(t, cfg, false)
	l.put(0, created(t, "a", 3, "Ann"))
	l.play(old, cut{0, 3, 4})
	c.pass(time.Hour)
	p.step(t)
	if sent := w.sent(); len(sent) > 0 {
		t.Fatalf("performed %v ahead of its turn", sent)
	}

	_, p = w.release(t, cfg, true)
	c.pass(time.Hour)
	p.step(t)
	p.step(t)
	if diff := cmp.Diff([]string{"a v2 Ann users.events.v2.UserCreated:1", "a v2 Ann users.events.v1.UserCreated:3"}, w.sent()); diff != "" {
		t.Error(diff)
	}
}

// A route of Any beside the reaction takes no queued event away from the release that can perform it.
func TestAQueuedReactionWaitsForAnotherReleaseBesideAny(t *testing.T) {
	w, l, c, cfg := &welcomer{}, newTape(t, 1), newClock(), config(t, newDB(t))
	c.config(&cfg)
	anything := func() Route { return Any(func(context.Context, Tx, []bus.Event) error { return nil }) }
	l.put(0, twins(t, "a", 1, "Ann")...)
	l.all(mustNew(t, cfg, After(w.v2), Upcast(upCreated), anything()))

	in := mustNew(t, cfg, After(w.v1), anything()) // taken back
	c.pass(time.Hour)
	(&performer{Inbox: in, owner: uuid.NewString()}).step(t)
	wantStatus(t, in, Status{Keys: 1, Versions: 1, Duplicates: 1, Queue: 1})
}
