package inbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/internal/sqldb/pgtest"
)

// TestMendingOnPostgres runs again what is decided by the database.
func TestMendingOnPostgres(t *testing.T) {
	pgtest.Server(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"ARewindFillsInWhatIsMissing", TestARewindFillsInWhatIsMissing},
		{"ARewindMovesWhatIsNamed", TestARewindMovesWhatIsNamed},
		{"ARewindIsRefused", TestARewindIsRefused},
		{"ABusWithoutALogIsNotRewound", TestABusWithoutALogIsNotRewound},
		{"WhatIsNoInboxIsNotTouched", TestWhatIsNoInboxIsNotTouched},
		{"TheLogsStartIsWhereverItIs", TestTheLogsStartIsWhereverItIs},
		{"ARebuildBeginsFromNothing", TestARebuildBeginsFromNothing},
		{"ARebuildLeavesNothingOfTheGroup", TestARebuildLeavesNothingOfTheGroup},
		{"ARebuildThatFailsChangesNothing", TestARebuildThatFailsChangesNothing},
		{"HistoriesAndReactionsAreNotRebuilt", TestHistoriesAndReactionsAreNotRebuilt},
	} {
		t.Run(test.name, test.run)
	}
}

// pos is a position of the test's topic in whatever log.
func pos(partition int32, offset int64) bus.Position {
	return bus.Position{Topic: topic, Partition: partition, Offset: offset}
}

func rewind(t testing.TB, in *Inbox, to ...bus.Position) []Move {
	t.Helper()
	moves, err := Rewind(t.Context(), in.cfg.DB, in.cfg.Group, to...)
	if err != nil {
		t.Fatal(err)
	}
	return moves
}

// lose removes a key's rows and its mark, as a hand would that was quicker than its head.
func lose(t testing.TB, in *Inbox, key string) {
	t.Helper()
	mustExec(t, in.cfg.DB, `DELETE FROM applied WHERE key = $1`, key)
	mustExec(t, in.cfg.DB, `DELETE FROM tidings_inbox_mark WHERE key = $1`, key)
}

// The log is read to its end and nothing more comes, or the service is down: either way it is read again.
func TestARewindFillsInWhatIsMissing(t *testing.T) {
	t.Parallel() // it waits for a look at the rows, a second at a time
	r := newRecorder(t)
	in := mustNew(t, config(t, newDB(t)), recordAll()...)
	publish(t, r, created(t, "a", 1, "A"), created(t, "b", 1, "B"), updated(t, "a", 2, "AA"))
	stop := run(t, in, r)
	await(t, in, "a", 2)
	await(t, in, "b", 1)
	for _, running := range []bool{true, false} {
		if !running {
			stop()
		}
		before := status(t, in).Duplicates
		lose(t, in, "a")
		if moves := rewind(t, in); len(moves) != 4 || moves[0].To != FromStart {
			t.Fatalf("moves are %+v, want each of 4 partitions to the start", moves)
		}
		if !running {
			run(t, in, r)
		}
		await(t, in, "a", 2)
		eventually(t, func() string {
			if n := status(t, in).Duplicates - before; n != 1 {
				return fmt.Sprintf("%d duplicates, want that of b", n)
			}
			return ""
		})
		wantApplied(t, in, "b:1 B", "a:1 A", "a:2 AA")
	}
	if s := status(t, in); s.Resets != 0 || s.Lost != 0 || s.Missing != 0 {
		t.Fatalf("status is %+v: what was asked for is no fault of the log", s)
	}
}

func TestARewindMovesWhatIsNamed(t *testing.T) {
	in, l := newInbox(t, 2)
	l.put(0, created(t, "a", 1, "A"), updated(t, "a", 2, "AA"), updated(t, "a", 3, "AAA"))
	l.put(1, created(t, "b", 1, "B"), updated(t, "b", 2, "BB"))
	l.rest(in)
	lose(t, in, "a")
	lose(t, in, "b")
	moves := rewind(t, in, bus.Position{Partition: 0, Offset: 1}, bus.Position{Topic: topic, Log: l.id, Partition: 1, Offset: 2})
	want := []Move{{bus.Position{Topic: topic, Log: l.id, Partition: 0, Offset: 3}, 1}}
	if diff := cmp.Diff(want, moves); diff != "" {
		t.Fatalf("moves (-want +got):\n%s", diff)
	}
	wantPositions(t, in, 1, 2)
	// A delivery that was on its way finds out.
	if got := reread(t, in.handle(t.Context(), l.delivery(cut{0, 2, 3}))); len(got) != 1 {
		t.Fatalf("asks to read %v again", got)
	}
	l.rest(in)
	wantApplied(t, in, "a:2 AA", "a:3 AAA")
	at, err := Positions(t.Context(), in.cfg.DB, in.cfg.Group)
	if err != nil || len(at) != 2 || at[0].Offset != 3 || at[0].Log != l.id {
		t.Fatalf("positions are %+v, %v", at, err)
	}
	if moves := rewind(t, in, pos(0, FromStart)); len(moves) != 1 {
		t.Fatalf("moves are %+v", moves)
	}
	if moves := rewind(t, in, pos(0, FromStart)); len(moves) != 0 {
		t.Fatalf("moves are %+v, and it is there already", moves)
	}
}

func TestARewindIsRefused(t *testing.T) {
	in, l := newInbox(t, 3)
	for p, key := range []string{"a", "b", "c"} {
		l.put(p, created(t, key, 1, key), updated(t, key, 2, key))
	}
	l.rest(in)
	mustExec(t, in.cfg.DB, `INSERT INTO tidings_inbox_position (grp, topic, part, log, next, whole) VALUES ('test', 'other', 2, 'o', 9, $1)`, false)
	rewind(t, in, pos(1, FromStart))
	for _, tt := range []struct {
		to   []bus.Position
		want string
	}{
		{[]bus.Position{pos(0, 3)}, "user_activity/0 is at 2: a move forward, to 3, would leave events out"},
		{[]bus.Position{pos(1, 1)}, "user_activity/1 is about to be read from the log's start: a move forward, to 1"},
		{[]bus.Position{pos(7, 0)}, "user_activity/7: the group reads no such partition"},
		{[]bus.Position{{Partition: 2}}, "partition 2: the group reads more than one topic; name it"},
		{[]bus.Position{pos(0, 1), {Partition: 0}}, "user_activity/0 is named twice"},
		{[]bus.Position{pos(0, -2)}, "there is no offset -2"},
		{[]bus.Position{{Topic: topic, Log: "another"}}, `the group reads the log "log-1", and not "another"`},
	} {
		// With one that could be moved: nothing is, unless all can.
		moves, err := Rewind(t.Context(), in.cfg.DB, "test", append(tt.to, pos(2, 0))...)
		if err == nil || !strings.Contains(err.Error(), tt.want) || moves != nil {
			t.Errorf("Rewind to %+v = %+v, %v; want %q", tt.to, moves, err, tt.want)
		}
	}
	wantPositions(t, in, 9, 2, FromStart, 2)
}

// nothing is to be emptied by those that are refused.
func untouched(t testing.TB) func(context.Context, Tx) error {
	return func(context.Context, Tx) error {
		t.Error("it was emptied")
		return nil
	}
}

func TestABusWithoutALogIsNotRewound(t *testing.T) {
	in, _ := newInbox(t, 0)
	e := created(t, "a", 1, "A")
	e.At.Offset, e.Seq, e.SeqLog = -1, 1, "n"
	if err := in.handle(t.Context(), bus.Delivery{Events: []bus.Event{e}}); err != nil {
		t.Fatal(err)
	}
	if _, err := Rewind(t.Context(), in.cfg.DB, "test"); !errors.Is(err, ErrNoLog) {
		t.Errorf("Rewind = %v", err)
	}
	if err := Rebuild(t.Context(), in.cfg.DB, "test", untouched(t)); !errors.Is(err, ErrNoLog) {
		t.Errorf("Rebuild = %v", err)
	}
	wantApplied(t, in, "a:1 A")
}

func TestWhatIsNoInboxIsNotTouched(t *testing.T) {
	db := newDB(t)
	want := func(is error, text string) {
		t.Helper()
		_, rewound := Rewind(t.Context(), db, "test")
		_, read := Positions(t.Context(), db, "test")
		for _, err := range []error{rewound, read, Rebuild(t.Context(), db, "test", untouched(t))} {
			if err == nil || is != nil && !errors.Is(err, is) || !strings.Contains(err.Error(), text) {
				t.Errorf("%v; want %q", err, text)
			}
		}
	}
	want(nil, "this database has no tables of an inbox")
	mustExec(t, db, `CREATE TABLE tidings_inbox_version (n INTEGER)`) // if there were tables, this would fail
	mustExec(t, db, `DROP TABLE tidings_inbox_version`)
	in := mustNew(t, config(t, db), recordAll()...)
	want(ErrNoGroup, "has read nothing")
	newTape(t, 1).resume(in)
	mustExec(t, db, `UPDATE tidings_inbox_version SET version_id = version_id + 100 WHERE version_id > 0`)
	want(nil, "use the release that the service runs")
}

// A log that has dropped its beginning is read from what it has, and nobody calls that a loss: nothing was to be read
// there that this group did not have.
func TestTheLogsStartIsWhereverItIs(t *testing.T) {
	in, l := newInbox(t, 1, func(c *Config) { c.Start = bus.Latest() })
	l.put(0, created(t, "a", 1, "A"), updated(t, "a", 2, "AA"), updated(t, "a", 3, "AAA"))
	l.rest(in)
	rewind(t, in)
	if got := resumed(t, in, partition(0, l.id, 2, 3, 3)); got[0] != 2 {
		t.Fatalf("resumes at %v, want where the log begins", got)
	}
	rewind(t, in, pos(0, FromStart))
	if got := resumed(t, in, partition(0, "anew", 0, 1, 1)); got[0] != 0 { // the topic was made anew just then
		t.Fatalf("resumes at %v, want where the log begins", got)
	}
	if s := status(t, in); s.Lost != 0 || s.Resets != 0 || s.Positions[0].Log != "anew" {
		t.Fatalf("status is %+v", s)
	}
	wantApplied(t, in, "a:1 A", "a:2 AA", "a:3 AAA")
}

// Whoever removes rows of positions is understood, too, as the rows of a new group: in a log that nothing is added to.
func TestRemovedPositionsAreFoundOut(t *testing.T) {
	t.Parallel() // it waits for a look at the rows, a second at a time
	r := newRecorder(t, bustest.WithPartitions(2))
	in := mustNew(t, config(t, newDB(t)), recordAll()...)
	publish(t, r, created(t, "a", 1, "A"), created(t, "b", 1, "B"), created(t, "c", 1, "C"))
	run(t, in, r)
	for _, key := range []string{"a", "b", "c"} {
		await(t, in, key, 1)
	}
	for _, some := range []string{"part = 1", "part >= 0"} {
		mustExec(t, in.cfg.DB, `DELETE FROM tidings_inbox_mark`)
		mustExec(t, in.cfg.DB, `DELETE FROM applied`)
		mustExec(t, in.cfg.DB, `DELETE FROM tidings_inbox_position WHERE `+some)
		eventually(t, func() string {
			if s := status(t, in); len(s.Positions) != 2 || s.Lag != 0 {
				return fmt.Sprintf("status is %+v", s)
			}
			return ""
		})
	}
	for _, key := range []string{"a", "b", "c"} {
		await(t, in, key, 1)
	}
}

func TestAPositionIsBehindWhenItStaysSo(t *testing.T) {
	p := func(n int32) topicPart { return topicPart{topic, n} }
	type offsets = map[topicPart]int64
	for _, tt := range []struct {
		name              string
		before, now, rows offsets
		want              bool
	}{
		{name: "nothing is known"},
		{"all is as it was", offsets{p(0): 5}, offsets{p(0): 5}, offsets{p(0): 5}, false},
		{"another replica has gone on", offsets{p(0): 5}, offsets{p(0): 5}, offsets{p(0): 7}, false},
		{"it was put back", offsets{p(0): 5}, offsets{p(0): 5}, offsets{p(0): 4}, true},
		{"it was put back to the start", offsets{p(0): 0}, offsets{p(0): 0}, offsets{p(0): FromStart}, true},
		{"it was removed", offsets{p(0): 0, p(1): 1}, offsets{p(0): 0, p(1): 1}, offsets{p(1): 1}, true},
		{"the bus goes on meanwhile", offsets{p(0): 5}, offsets{p(0): 6}, offsets{p(0): 4}, false},
		{"the bus is being told", offsets{p(0): 5}, offsets{}, offsets{p(0): 4}, false},
		{"it was told just now", offsets{}, offsets{p(0): 5}, offsets{p(0): 4}, false},
	} {
		if got := isBehind(tt.before, tt.now, tt.rows); got != tt.want {
			t.Errorf("%s: behind is %v, want %v", tt.name, got, tt.want)
		}
	}
}

// While the bus is being told where to read on, its place is nobody's business.
func TestPlacesAreThoseThatTheBusWasTold(t *testing.T) {
	var p places
	parts := []bus.Partition{partition(0, "l", 0, 9, 0), partition(1, "l", 0, 9, 0), partition(2, "l", 0, 9, 0)}
	p.resumed(parts, []int64{1, 2, 3})
	old := p.now()
	p.taken([]bus.Range{{Position: pos(0, 1), Next: 5}, {Position: pos(1, 2), Next: 6}}, []bus.Position{pos(1, 2)})
	want := map[topicPart]int64{{topic, 0}: 5, {topic, 2}: 3}
	if got := p.now(); !maps.Equal(got, want) || len(old) != 3 {
		t.Fatalf("places are %v, want %v", got, want)
	}
	if p.clear(); len(p.now()) > 0 {
		t.Fatal("places of the subscription before are kept")
	}
}

// subscriptions counts how often a bus is subscribed to.
type subscriptions struct {
	*bustest.Recorder
	n chan struct{}
}

func (s subscriptions) Subscribe(ctx context.Context, sub bus.Subscription, h bus.Handler) error {
	s.n <- struct{}{}
	return s.Recorder.Subscribe(ctx, sub, h)
}

// Members of a group come and go with every subscription, so none is begun again without need.
func TestASubscriptionIsBegunAgainOnlyWhereAPositionWasPutBack(t *testing.T) {
	t.Parallel() // it waits for a look at the rows, a second at a time
	r := subscriptions{newRecorder(t), make(chan struct{}, 100)}
	in := mustNew(t, config(t, newDB(t)), recordAll()...)
	run(t, in, r)
	for v := uint64(1); v <= 22; v++ { // for longer than it takes to look twice
		publish(t, r, updated(t, "a", v, "A"))
		await(t, in, "a", v)
		wait(t.Context(), longestSleep/10, nil)
	}
	if n := len(r.n); n != 1 {
		t.Fatalf("%d subscriptions, want 1", n)
	}
	rewind(t, in)
	eventually(t, func() string {
		if n := status(t, in).Duplicates; n != 22 {
			return fmt.Sprintf("%d duplicates, want all 22", n)
		}
		return ""
	})
	if n := len(r.n); n != 2 {
		t.Fatalf("%d subscriptions, want 2", n)
	}
}
