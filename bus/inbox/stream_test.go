package inbox

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

func keyOf(log string, n uint64) string { return fmt.Sprintf("%s-%d", log, n) }

func TestNumbersThatHaveNotComeAreMissed(t *testing.T) {
	in, _ := newInbox(t, 0)
	hear(t, in, seqs(t, "x", 1, 2, 5)...)
	wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 5, Missed: 2})
	hear(t, in, seqs(t, "x", 5, 9, 7, 7, 1)...) // out of order, and repeats
	wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 9, Missed: 4})
	hear(t, in, seqs(t, "x", 3)...) // late
	hear(t, in, seqs(t, "x", 3)...)
	wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 9, Missed: 3})
	hear(t, in, seqs(t, "x", 4, 6, 8, 10)...)
	wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 10})
	if n := count(t, in, `SELECT COUNT(*) FROM tidings_inbox_missed`); n != 0 {
		t.Fatalf("%d ranges are left", n)
	}
}

func count(t testing.TB, in *Inbox, text string) (n int64) {
	t.Helper()
	if err := in.cfg.DB.QueryRow(text).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestARangeIsSplitShortenedAndClosed(t *testing.T) {
	in, _ := newInbox(t, 0)
	hear(t, in, seqs(t, "x", 1, 100)...)
	for _, tt := range []struct {
		late   []uint64
		ranges int64
		missed int64
	}{
		{[]uint64{50}, 2, 97},
		{[]uint64{2, 99}, 2, 95},
		{[]uint64{10, 11, 20, 60, 50}, 5, 91},
		{[]uint64{12, 13, 14, 15, 16, 17, 18, 19}, 4, 83},
		{[]uint64{1, 100, 50}, 4, 83},
	} {
		hear(t, in, seqs(t, "x", tt.late...)...)
		wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 100, Missed: tt.missed})
		if n := count(t, in, `SELECT COUNT(*) FROM tidings_inbox_missed`); n != tt.ranges || n != count(t, in, `SELECT ranges FROM tidings_inbox_stream`) {
			t.Fatalf("after %v there are %d ranges, want %d", tt.late, n, tt.ranges)
		}
	}
}

func TestTheFirstNumberThatIsHeardIsTheBase(t *testing.T) {
	in, _ := newInbox(t, 0)
	hear(t, in, seqs(t, "x", 9, 7)...)
	hear(t, in, seqs(t, "x", 6)...) // sent before, heard after
	wantStreams(t, in, Stream{SeqLog: "x", First: 7, Highest: 9, Missed: 1})
}

func TestHeartbeatsTellOfWhatNoEventFollows(t *testing.T) {
	in, _ := newInbox(t, 0)
	hear(t, in, beat(t, "x", 0)) // of a source never heard before
	wantStreams(t, in, Stream{SeqLog: "x", First: 1})
	hear(t, in, beat(t, "x", 3))
	wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 3, Missed: 3})
	hear(t, in, append(seqs(t, "x", 4, 2), beat(t, "x", 6), beat(t, "x", 5))...)
	hear(t, in, beat(t, "x", 6))
	hear(t, in, beat(t, "x", 1)) // an old one
	wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 6, Missed: 4})
	wantApplied(t, in, "x-4:1 ", "x-2:1 ")
}

func TestAHeartbeatOfASourceNeverHeardIsTheBase(t *testing.T) {
	for name, tt := range map[string]struct {
		heard []bus.Event
		want  Stream
	}{
		"alone":               {[]bus.Event{beat(t, "x", 10)}, Stream{First: 11, Highest: 10}},
		"above events":        {append(seqs(t, "x", 8), beat(t, "x", 10)), Stream{First: 8, Highest: 10, Missed: 2}},
		"just below an event": {append(seqs(t, "x", 11), beat(t, "x", 10)), Stream{First: 11, Highest: 11}},
		"far below an event":  {append(seqs(t, "x", 15), beat(t, "x", 10)), Stream{First: 11, Highest: 15, Missed: 4}},
	} {
		t.Run(name, func(t *testing.T) {
			in, _ := newInbox(t, 0)
			hear(t, in, tt.heard...)
			tt.want.SeqLog = "x"
			wantStreams(t, in, tt.want)
		})
	}
}

func TestANewNumberingIsForTheGroupFromItsStart(t *testing.T) {
	in, _ := newInbox(t, 0)
	hear(t, in, seqs(t, "x", 5, 7)...)
	hear(t, in, seqs(t, "y", 3)...)
	hear(t, in, beat(t, "z", 2))
	hear(t, in, seqs(t, "x", 6)...) // of the old one, late
	wantStreams(t, in,
		Stream{SeqLog: "x", First: 5, Highest: 7},
		Stream{SeqLog: "y", First: 1, Highest: 3, Missed: 2},
		Stream{SeqLog: "z", First: 1, Highest: 2, Missed: 2})
}

func TestOfTwoNumberingsInOneDeliveryTheSecondBeginsAtOne(t *testing.T) {
	in, _ := newInbox(t, 0)
	hear(t, in, append(seqs(t, "y", 5), append(seqs(t, "b", 3), seqs(t, "y", 6)...)...)...)
	wantStreams(t, in, Stream{SeqLog: "b", First: 1, Highest: 3, Missed: 2}, Stream{SeqLog: "y", First: 5, Highest: 6})
}

func TestTopicsAndSourcesAreNumberedApart(t *testing.T) {
	in, _ := newInbox(t, 0)
	elsewhere, other := seqs(t, "x", 4)[0], seqs(t, "x", 2)[0]
	elsewhere.At.Topic, other.Source = "zoo", "/zoo"
	hear(t, in, append(seqs(t, "x", 1, 3), elsewhere, other)...)
	elsewhere.Seq = 6
	hear(t, in, elsewhere)
	wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 3, Missed: 1},
		Stream{Source: "/zoo", SeqLog: "x", First: 2, Highest: 2},
		Stream{Topic: "zoo", SeqLog: "x", First: 4, Highest: 6, Missed: 1})
}

func TestGroupsOfOneDatabaseCountApart(t *testing.T) {
	db := newDB(t)
	first := mustNew(t, config(t, db), recordAll()...)
	cfg := config(t, db)
	cfg.Group = "other"
	second := mustNew(t, cfg, recordAll()...)
	hear(t, first, seqs(t, "x", 1, 3)...)
	hear(t, second, seqs(t, "x", 3)...)
	wantStreams(t, first, Stream{SeqLog: "x", First: 1, Highest: 3, Missed: 1})
	wantStreams(t, second, Stream{SeqLog: "x", First: 3, Highest: 3})
}

func TestOnABusWithALogNumbersMeanNothing(t *testing.T) {
	in, l := newInbox(t, 1)
	l.put(0, seqs(t, "x", 5, 9)...)
	d := l.delivery(cut{0, 0, 2})
	d.Heartbeats = []bus.Heartbeat{{Topic: topic, Source: source, SeqLog: "x", Seq: 20}}
	if err := in.handle(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	wantStreams(t, in)
	wantApplied(t, in, "x-5:1 ", "x-9:1 ")
}

// CloudEvents has a "sequence" of its own, which need not be counted up by one.
func TestANumberWithoutItsNumberingMeansNothing(t *testing.T) {
	in, _ := newInbox(t, 0)
	hear(t, in, append(seqs(t, "", 1700000000), seqs(t, "", 1800000000)...)...)
	hear(t, in, append(seqs(t, "x", 2), seqs(t, "", 1)...)...)
	wantStreams(t, in, Stream{SeqLog: "x", First: 2, Highest: 2})
	if n := len(applications(t, in.cfg.DB)); n != 4 {
		t.Fatalf("%d were applied, want all 4", n)
	}
}

func TestWhatCannotBeTakenCountsByItsNumber(t *testing.T) {
	in, _ := newInbox(t, 0)
	high := numbered(created(t, "high", maxVersion+1, ""), "x", 2)
	broken := bus.Event{Key: "k", Data: []byte("?"), Err: errTest, At: bus.Position{Topic: topic, Offset: -1}}
	refused := numbered(created(t, "refused", 1, ""), "x", 3)
	refused.Data = []byte{0xff}
	hear(t, in, append(seqs(t, "x", 1, 5), high, broken, refused)...)
	wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 5, Missed: 1})
	if s := status(t, in); s.Parked != 3 {
		t.Fatalf("%d are parked, want 3", s.Parked)
	}
}

func TestAnEventAboveTheHighestVersionIsParkedWhole(t *testing.T) {
	for _, v := range []uint64{maxVersion + 1, math.MaxUint64} {
		in, l := newInbox(t, 1)
		e := created(t, "a", v, "A")
		e.Ext = map[string]string{"traceparent": "00-x-y-01"}
		l.put(0, created(t, "a", 1, "A"), e)
		d := l.delivery(cut{0, 0, 2})
		for range 2 {
			if err := in.handle(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			if d.Events[1].Err != nil {
				t.Fatal("the bus's own event was written to")
			}
		}
		wantStatus(t, in, Status{Keys: 1, Versions: 1, Parked: 1, Dead: 1})
		var raw []byte
		if err := in.cfg.DB.QueryRow(`SELECT raw FROM tidings_inbox_parked WHERE version > $1`, int64(maxVersion)).Scan(&raw); err != nil {
			t.Fatal(err)
		}
		got, err := bus.ParseEnvelope(raw)
		if err != nil || got.ID != e.ID || got.Version != v || got.Ext["traceparent"] == "" {
			t.Fatalf("parked %+v, %v", got, err)
		}
	}
}

func TestANumberTooHighToBeTrueIsLeftOut(t *testing.T) {
	var logged logs
	in, _ := newInbox(t, 0, func(c *Config) { c.Logger = logged.logger() })
	hear(t, in, append(seqs(t, "x", 1, 1<<63, math.MaxUint64, maxSeq+1, 3), beat(t, "x", 1<<63), beat(t, "x", math.MaxUint64))...)
	wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 3, Missed: 1})
	if n := len(applications(t, in.cfg.DB)); n != 5 {
		t.Fatalf("%d were applied, want all 5", n)
	}
	if !logged.has("too high to be true", "events=5") {
		t.Fatalf("nothing was said of it: %s", logged.String())
	}
}

func TestAJumpOfAnySizeIsOneRange(t *testing.T) {
	in, _ := newInbox(t, 0)
	hear(t, in, seqs(t, "x", 1, maxSeq-1)...)
	hear(t, in, beat(t, "x", maxSeq))
	hear(t, in, seqs(t, "x", 1<<40)...)
	wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: maxSeq, Missed: maxSeq - 3})
	if n := count(t, in, `SELECT COUNT(*) FROM tidings_inbox_missed`); n != 3 {
		t.Fatalf("%d ranges, want 3", n)
	}
}

func TestTheSumOfWhatWasMissedNeverOverflows(t *testing.T) {
	in, _ := newInbox(t, 0)
	for _, log := range []string{"x", "y", "z"} {
		hear(t, in, seqs(t, log, 1, 3)...)
	}
	mustExec(t, in.cfg.DB, `UPDATE tidings_inbox_stream SET folded = $1`, int64(math.MaxInt64/2))
	if s := status(t, in); s.Missed != math.MaxInt64 || s.Streams[0].Missed != math.MaxInt64/2+1 {
		t.Fatalf("status is %+v", s)
	}
}

// A stream that loses every second event must not grow the database for ever.
func TestTheOldestRangesBecomeACount(t *testing.T) {
	var logged logs
	in, _ := newInbox(t, 0, func(c *Config) { c.Logger = logged.logger() })
	mustExec(t, in.cfg.DB, `PRAGMA synchronous = OFF`)
	const step = 2000
	n := uint64(1)
	for ; n < 2*maxRanges+3*step; n += 2 * step { // more than fit, and the last of them not at once
		var heard []bus.Event
		for i := n; i < n+2*step; i += 2 {
			e := numbered(bus.Event{ID: "i", Source: source, Type: "unknown", Key: "k"}, "x", i)
			heard = append(heard, e)
		}
		hear(t, in, heard...)
	}
	missed := int64(n/2) - 1
	wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: n - 2, Missed: missed})
	if rows := count(t, in, `SELECT COUNT(*) FROM tidings_inbox_missed`); rows != maxRanges || count(t, in, `SELECT ranges FROM tidings_inbox_stream`) != rows {
		t.Fatalf("%d ranges, want %d", rows, maxRanges)
	}
	hear(t, in, seqs(t, "x", 2, n-3)...) // the first is in the count for good
	wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: n - 2, Missed: missed - 1})
	if !logged.has("kept as a count only") {
		t.Fatal("nothing was said of it")
	}
}

func TestAnAttemptThatFailsCountsNothing(t *testing.T) {
	fail := true
	gaps := heardGaps{}
	cfg := config(t, newDB(t))
	cfg.OnGap = gaps.hear
	in := mustNew(t, cfg, On(func(ctx context.Context, tx Tx, e bus.Event, _ *eventsv1.UserCreated) error {
		if fail && e.Seq == 8 {
			return errStore
		}
		return insert(ctx, tx, &e, "")
	}))
	hear(t, in, seqs(t, "x", 1, 4)...)
	again := deliveryOf(append(seqs(t, "x", 3, 8), seqs(t, "y", 5)...))
	for range 2 {
		if err := in.handle(t.Context(), again); !errors.Is(err, errTest) {
			t.Fatalf("the bus hears %v", err)
		}
		wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 4, Missed: 2})
	}
	gaps.want(t, "/users 2 numbers 2 to 3 were not received")
	fail = false
	for range 2 { // the bus may bring again what was committed
		if err := in.handle(t.Context(), again); err != nil {
			t.Fatal(err)
		}
		wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 8, Missed: 4}, Stream{SeqLog: "y", First: 1, Highest: 5, Missed: 4})
	}
	gaps.want(t, "/users 2 numbers 2 to 3 were not received", "/users 3 numbers 5 to 7 were not received", "/users 4 numbers 1 to 4 were not received")
}

func TestADeliveryThatIsTakenCarefullyCountsOnce(t *testing.T) {
	in := mustNew(t, config(t, newDB(t)), On(func(ctx context.Context, tx Tx, e bus.Event, _ *eventsv1.UserCreated) error {
		if e.Seq == 3 {
			return bus.Permanent(errTest)
		}
		return insert(ctx, tx, &e, "")
	}))
	hear(t, in, seqs(t, "x", 1, 3, 5)...)
	wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 5, Missed: 2})
	wantApplied(t, in, "x-1:1 ", "x-5:1 ")
}

// heardGaps keeps what OnGap hears: "source missed reason".
type heardGaps struct {
	mu  sync.Mutex
	all []string
	sum uint64
}

func (g *heardGaps) hear(_ context.Context, gap bus.Gap) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if gap.At.Topic != topic || gap.At.Offset != -1 {
		panic(fmt.Sprintf("a gap at %+v", gap.At))
	}
	g.all = append(g.all, fmt.Sprintf("%s %d %s", gap.Source, gap.Missed, gap.Reason))
	g.sum += gap.Missed
}

func (g *heardGaps) want(t testing.TB, want ...string) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Equal(g.all, want) {
		t.Fatalf("OnGap heard %q, want %q", g.all, want)
	}
}

func TestGapsAreToldAndLoggedOnceTheyAreCommitted(t *testing.T) {
	var logged logs
	gaps := heardGaps{}
	in, _ := newInbox(t, 0, func(c *Config) { c.OnGap, c.Logger = gaps.hear, logged.logger() })
	hear(t, in, seqs(t, "x", 1, 2)...)
	gaps.want(t)
	hear(t, in, seqs(t, "x", 4)...)
	hear(t, in, seqs(t, "x", 6, 10)...)
	hear(t, in, seqs(t, "x", 3, 5)...)
	gaps.want(t, "/users 1 number 3 was not received", "/users 4 4 of the numbers 5 to 9 were not received")
	for _, line := range [][]any{
		{"events were missed", "missed=1", "number 3"},
		{"events were missed", "missed=4", "5 to 9", "topic=" + topic, "source=" + source},
		{"have come late", "events=2"},
	} {
		if !logged.has(line...) {
			t.Errorf("the log lacks %v: %s", line, logged.String())
		}
	}
}

// On SQLite one writes at a time; a handler that meddles stands for the other replica.
func TestAStreamThatMovesMeanwhileRollsTheDeliveryBack(t *testing.T) {
	for name, text := range map[string]string{
		"its row":   `UPDATE tidings_inbox_stream SET rev = rev + 1`,
		"its range": `UPDATE tidings_inbox_missed SET last = last - 1`,
	} {
		t.Run(name, func(t *testing.T) {
			in := mustNew(t, config(t, newDB(t)), On(func(ctx context.Context, tx Tx, e bus.Event, _ *eventsv1.UserCreated) error {
				if e.Seq < 5 {
					return nil
				}
				_, err := tx.ExecContext(ctx, text)
				return err
			}))
			hear(t, in, seqs(t, "x", 1, 4)...)
			if err := in.handle(t.Context(), deliveryOf(seqs(t, "x", 2, 7))); !errors.Is(err, errMoved) {
				t.Fatalf("the bus hears %v, want that a row was moved", err)
			}
			wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 4, Missed: 2})
		})
	}
}

// A database that an older release has made gets the new tables, and keeps what it has.
func TestADatabaseOfTheFirstReleaseIsMigrated(t *testing.T) {
	db := openDB(t, filepath.Join(t.TempDir(), "old.db"))
	first, err := migrations.ReadFile("migrations/sqlite/00001_inbox.sql")
	if err != nil {
		t.Fatal(err)
	}
	old := fstest.MapFS{"00001_inbox.sql": {Data: first}}
	if err := sqldb.Migrate(t.Context(), db, sqldb.SQLite, old, versionTable); err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, `INSERT INTO tidings_inbox_source (grp, source) VALUES ('test', '/users')`)
	mustExec(t, db, `INSERT INTO tidings_inbox_mark (source, key, version) VALUES (1, 'a', 3)`)
	mustExec(t, db, `CREATE TABLE applied (n INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT, version INTEGER, name TEXT)`)
	in := mustNew(t, config(t, db), recordAll()...)
	hear(t, in, numbered(updated(t, "a", 3, "A"), "x", 1), numbered(updated(t, "a", 4, "A"), "x", 3))
	wantApplied(t, in, "a:4 A")
	wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 3, Missed: 1})
}

// A delivery gives heartbeats beside its events, so one of a numbering that is over can stand behind events of the next.
func TestAHeartbeatSaysNothingOfWhichNumberingIsOlder(t *testing.T) {
	in, _ := newInbox(t, 0)
	hear(t, in, append(seqs(t, "y", 1, 2), beat(t, "x", 50))...)
	wantStreams(t, in, Stream{SeqLog: "x", First: 51, Highest: 50}, Stream{SeqLog: "y", First: 1, Highest: 2})
	two, _ := newInbox(t, 0)
	hear(t, two, beat(t, "x", 50), beat(t, "y", 2))
	wantStreams(t, two, Stream{SeqLog: "x", First: 51, Highest: 50}, Stream{SeqLog: "y", First: 3, Highest: 2})
	hear(t, two, beat(t, "z", 4), beat(t, "y", 3)) // of a source that is known by now
	wantStreams(t, two, Stream{SeqLog: "x", First: 51, Highest: 50}, Stream{SeqLog: "y", First: 3, Highest: 3, Missed: 1},
		Stream{SeqLog: "z", First: 1, Highest: 4, Missed: 4})
}

func TestCountingBeginsBehindTheLowestHeartbeat(t *testing.T) {
	for name, tt := range map[string]struct {
		heard []bus.Event
		want  Stream
	}{
		"alone":       {[]bus.Event{beat(t, "x", 0), beat(t, "x", 5)}, Stream{First: 1, Highest: 5, Missed: 5}},
		"any order":   {[]bus.Event{beat(t, "x", 5), beat(t, "x", 2)}, Stream{First: 3, Highest: 5, Missed: 3}},
		"with events": {append(seqs(t, "x", 4), beat(t, "x", 0), beat(t, "x", 5)), Stream{First: 1, Highest: 5, Missed: 4}},
		"below them":  {append(seqs(t, "x", 4), beat(t, "x", 4), beat(t, "x", 5)), Stream{First: 4, Highest: 5, Missed: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			in, _ := newInbox(t, 0)
			hear(t, in, tt.heard...)
			tt.want.SeqLog = "x"
			wantStreams(t, in, tt.want)
		})
	}
}

func TestALossThatIsHeardOfBitByBitIsOneRange(t *testing.T) {
	gaps := heardGaps{}
	in, _ := newInbox(t, 0, func(c *Config) { c.OnGap = gaps.hear })
	wantRanges := func(want int64) {
		t.Helper()
		if n := count(t, in, `SELECT COUNT(*) FROM tidings_inbox_missed`); n != want || n != count(t, in, `SELECT ranges FROM tidings_inbox_stream`) {
			t.Fatalf("%d ranges, want %d", n, want)
		}
	}
	hear(t, in, beat(t, "x", 0))
	for i := range uint64(20) {
		hear(t, in, beat(t, "x", 10*(i+1)))
	}
	wantRanges(1)
	wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 200, Missed: 200})
	if len(gaps.all) != 20 || gaps.sum != 200 {
		t.Fatalf("OnGap heard of %d in %q", gaps.sum, gaps.all)
	}
	hear(t, in, append(seqs(t, "x", 150), beat(t, "x", 210))...) // late, out of the last range, which goes on
	wantRanges(2)
	hear(t, in, append(seqs(t, "x", 210), beat(t, "x", 220))...) // the end of it has come, so it doesn't
	wantRanges(3)
	hear(t, in, append(seqs(t, "x", 215, 230), beat(t, "x", 225))...)
	wantRanges(4)
	hear(t, in, seqs(t, "x", 232)...) // what is missing here doesn't touch what is missing there
	hear(t, in, append(seqs(t, "x", 240), beat(t, "x", 250))...)
	wantRanges(7)
	wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 250, Missed: 250 - 6})
	var late []uint64
	for n := uint64(1); n <= 250; n++ {
		late = append(late, n)
	}
	hear(t, in, seqs(t, "x", late...)...)
	wantRanges(0)
	wantStreams(t, in, Stream{SeqLog: "x", First: 1, Highest: 250})
}
