package inbox

import (
	"context"
	"slices"
	"testing"

	"github.com/tidings-dev/tidings/bus"
)

// partition describes one partition of a log that holds [first, next).
func partition(n int32, log string, first, next, start int64) bus.Partition {
	return bus.Partition{Position: bus.Position{Topic: topic, Log: log, Partition: n, Offset: start}, First: first, Next: next}
}

func resumed(t testing.TB, in *Inbox, parts ...bus.Partition) []int64 {
	t.Helper()
	next, err := in.resume(context.Background(), parts)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestResume(t *testing.T) {
	at := func(next int64) func(testing.TB, *Inbox) {
		return func(t testing.TB, in *Inbox) {
			resumed(t, in, partition(0, "l", 0, 1000, next), partition(1, "l", 0, 1000, next))
		}
	}
	for _, tt := range []struct {
		name         string
		before       func(testing.TB, *Inbox)
		parts        []bus.Partition
		want         []int64
		lost, resets int64
	}{
		{name: "a new group begins where the bus has resolved its start", parts: []bus.Partition{partition(0, "l", 5, 90, 40), partition(1, "l", 0, 7, 7)}, want: []int64{40, 7}},
		{name: "a known group goes on at its own positions", before: at(30), parts: []bus.Partition{partition(0, "l", 0, 90, 90), partition(1, "l", 0, 90, 90)}, want: []int64{30, 30}},
		{name: "the end of the log is a position", before: at(90), parts: []bus.Partition{partition(0, "l", 0, 90, 0)}, want: []int64{90}},
		{name: "a new partition is read from its start", before: at(30), parts: []bus.Partition{partition(2, "l", 3, 90, 90)}, want: []int64{3}},
		{name: "a topic made anew is read from its start", before: at(30), parts: []bus.Partition{partition(0, "m", 2, 90, 90)}, want: []int64{2}, resets: 1},
		{name: "a log that was shortened is read from its start", before: at(30), parts: []bus.Partition{partition(0, "l", 0, 29, 29)}, want: []int64{0}, resets: 1},
		{name: "events that are gone are counted", before: at(30), parts: []bus.Partition{partition(0, "l", 42, 90, 90), partition(1, "l", 30, 90, 90)}, want: []int64{42, 30}, lost: 12, resets: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := mustNew(t, config(t, newDB(t)), recordAll()...)
			if tt.before != nil {
				tt.before(t, in)
			}
			got := resumed(t, in, tt.parts...)
			if !slices.Equal(got, tt.want) {
				t.Fatalf("resumes at %v, want %v", got, tt.want)
			}
			s := status(t, in)
			if s.Lost != tt.lost || s.Resets != tt.resets {
				t.Fatalf("lost %d and %d resets are counted, want %d and %d", s.Lost, s.Resets, tt.lost, tt.resets)
			}
			for i, p := range tt.parts {
				if !slices.ContainsFunc(s.Positions, func(q bus.Position) bool {
					return q.Partition == p.Partition && q.Log == p.Log && q.Offset == tt.want[i]
				}) {
					t.Fatalf("%v is not stored: %v", p, s.Positions)
				}
			}
			// Asked again, before anything was read, it says the same.
			if again := resumed(t, in, tt.parts...); !slices.Equal(again, tt.want) || status(t, in).Resets != tt.resets {
				t.Fatalf("asked again it resumes at %v, want %v and no more resets", again, tt.want)
			}
		})
	}
}

// asked is a broker that says the same whenever it is asked.
type asked struct {
	parts []bus.Partition
	err   error
}

func (a asked) Partitions(context.Context, ...string) ([]bus.Partition, error) { return a.parts, a.err }

// What the bus says of a log is a moment old, and another replica may have gone on in that moment.
func TestAPositionIsGivenUpOnlyWhenTheBrokerConfirmsIt(t *testing.T) {
	stale := partition(0, "l", 0, 20, 0)
	for _, tt := range []struct {
		name   string
		told   bus.Partition // by the bus
		broker asked
		want   int64 // -1: an error, after which the bus asks again
		resets int64
	}{
		{"the log has grown", stale, asked{parts: []bus.Partition{partition(1, "l", 0, 9, 0), partition(0, "l", 0, 35, 0)}}, 20, 0},
		{"the log is shorter indeed", stale, asked{parts: []bus.Partition{stale}}, 0, 1},
		{"the topic is made anew indeed", partition(0, "m", 3, 50, 3), asked{parts: []bus.Partition{partition(0, "m", 3, 50, 3)}}, 3, 1},
		{"the topic is older than the record", partition(0, "k", 0, 50, 0), asked{parts: []bus.Partition{partition(0, "l", 0, 50, 0)}}, -1, 0},
		{"the broker doesn't answer", stale, asked{err: errTest}, -1, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := mustNew(t, config(t, newDB(t)), recordAll()...)
			resumed(t, in, partition(0, "l", 0, 100, 30)) // a replica has read up to 30
			var broker bus.Inspector = tt.broker
			in.broker.Store(&broker)
			next, err := in.resume(t.Context(), []bus.Partition{tt.told})
			in.broker.Store(nil)
			switch {
			case tt.want < 0 && err == nil:
				t.Fatalf("resumes at %v, want an error", next)
			case tt.want >= 0 && (err != nil || next[0] != tt.want):
				t.Fatalf("resumes at %v, %v; want %d", next, err, tt.want)
			}
			if tt.resets == 0 {
				wantPositions(t, in, 30)
			}
			if n := status(t, in).Resets; n != tt.resets {
				t.Fatalf("%d resets, want %d", n, tt.resets)
			}
		})
	}
}

func TestTheStartOfANewGroupIsFixedForAllPartitionsAtOnce(t *testing.T) {
	in := mustNew(t, config(t, newDB(t)), recordAll()...)
	resumed(t, in, partition(0, "l", 0, 10, 10), partition(1, "l", 0, 10, 10)) // starts at the end
	// By the time that partition 1 is assigned, more has been published. None of it may be passed over.
	if got := resumed(t, in, partition(1, "l", 0, 50, 50)); got[0] != 10 {
		t.Fatalf("resumes at %d, want 10", got[0])
	}
}

func TestTopicsAreResumedEachForItself(t *testing.T) {
	in := mustNew(t, config(t, newDB(t)), recordAll()...)
	resumed(t, in, partition(0, "l", 0, 10, 5))
	other := partition(0, "k", 0, 20, 20)
	other.Topic = "orders"
	if got := resumed(t, in, other); got[0] != 20 {
		t.Fatalf("a second topic resumes at %d, want its resolved start, 20", got[0])
	}
}

func TestGroupsShareADatabaseAndNothingElse(t *testing.T) {
	db := newDB(t)
	first, l := mustNew(t, config(t, db), recordAll()...), newTape(t, 1)
	cfg := config(t, db)
	cfg.Group = "other"
	second := mustNew(t, cfg, recordAll()...)
	l.put(0, created(t, "a", 1, "A"))
	l.rest(first)
	l.rest(second)
	wantApplied(t, first, "a:1 A", "a:1 A")
	if s := status(t, second); s.Keys != 1 || s.Duplicates != 0 {
		t.Fatalf("the second group's status is %+v", s)
	}
}

func TestAnErrorWhileResumingStoresNothing(t *testing.T) {
	in := mustNew(t, config(t, newDB(t)), recordAll()...)
	mustExec(t, in.cfg.DB, `CREATE TRIGGER no BEFORE INSERT ON tidings_inbox_position WHEN NEW.part = 1 BEGIN SELECT RAISE(ABORT, 'no'); END`)
	if _, err := in.resume(t.Context(), []bus.Partition{partition(0, "l", 0, 9, 0), partition(1, "l", 0, 9, 0)}); err == nil {
		t.Fatal("an answer was given that is not stored")
	}
	wantPositions(t, in)
}
