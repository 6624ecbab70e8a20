package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/internal/sqldb/pgtest"
)

// TestOnPostgres runs the tests again whose outcome is the database's to decide: what is stored, read, numbered, marked
// and purged, and who leads. Each has a schema of its own. Not run again are those of keys held back and of samples,
// which are decided in memory; those in a bubble of time, into which no socket reaches; those that copy a file, or look
// at SQLite's own migrations and plans; and those on a Kafka or Redis.
func TestOnPostgres(t *testing.T) {
	pgtest.Server(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"AddStoresTheEnvelope", TestAddStoresTheEnvelope},
		{"RollbackStoresAndSendsNothing", TestRollbackStoresAndSendsNothing},
		{"AddWorksInAPlainTransaction", TestAddWorksInAPlainTransaction},
		{"AddKeepsTheOrderOfMany", TestAddKeepsTheOrderOfMany},
		{"TwinsArePublishedInTheirOrder", TestTwinsArePublishedInTheirOrder},
		{"TwinsThatALogLacksAreSentAgainInTheirOrder", TestTwinsThatALogLacksAreSentAgainInTheirOrder},
		{"AddRefusesWhatABusRefuses", TestAddRefusesWhatABusRefuses},
		{"AddEndsWithItsContext", TestAddEndsWithItsContext},
		{"NewRefusesWhatCantWork", TestNewRefusesWhatCantWork},
		{"Status", TestStatus},
		{"StreamIsMadeOnce", TestStreamIsMadeOnce},
		// The relay.
		{"CommittedBeforeACrashIsSentAfterIt", TestCommittedBeforeACrashIsSentAfterIt},
		{"WhatWasSentIsMarkedWithItsPlace", TestWhatWasSentIsMarkedWithItsPlace},
		{"ManyWritersOneRelay", TestManyWritersOneRelay},
		{"MissedWakeIsCaughtByALook", TestMissedWakeIsCaughtByALook},
		{"ATransactionThatStraddlesABatchKeepsItsOrder", aTransactionThatStraddlesABatchKeepsItsOrder},
		{"WhatWasAcknowledgedAtTheStopIsMarked", TestWhatWasAcknowledgedAtTheStopIsMarked},
		{"RowThatIsNoEventStopsNobody", TestRowThatIsNoEventStopsNobody},
		{"FaultOfTheDatabaseIsWaitedOut", TestFaultOfTheDatabaseIsWaitedOut},
		{"BacklogIsPublishedInLargeBatchesOneAtATime", TestBacklogIsPublishedInLargeBatchesOneAtATime},
		{"LargeEventsMakeSmallBatches", TestLargeEventsMakeSmallBatches},
		{"LostAcknowledgementsRepeatInOrder", TestLostAcknowledgementsRepeatInOrder},
		// The lease.
		{"OneOfManyRelaysWorks", TestOneOfManyRelaysWorks},
		{"NextRelayStartsAtOnceAfterACleanStop", TestNextRelayStartsAtOnceAfterACleanStop},
		{"RelayThatWasKilledIsWaitedForNoLongerThanItsLease", TestRelayThatWasKilledIsWaitedForNoLongerThanItsLease},
		{"LeaseFromAClockThatIsAhead", TestLeaseFromAClockThatIsAhead},
		{"LeaseIsRenewedWhileIdleAndWhileBlocked", TestLeaseIsRenewedWhileIdleAndWhileBlocked},
		{"RelayThatLostItsLeaseStopsAndComesBack", TestRelayThatLostItsLeaseStopsAndComesBack},
		{"LeaseLostAtTheMarkEndsTheWork", TestLeaseLostAtTheMarkEndsTheWork},
		{"TwoLeadersRepeatAndKeepTheOrder", TestTwoLeadersRepeatAndKeepTheOrder},
		// Logs that are looked at.
		{"TopicThatCannotBeDescribedHoldsUpItsOwnPurgeOnly", TestTopicThatCannotBeDescribedHoldsUpItsOwnPurgeOnly},
		{"FillGoesThroughWhatWasMarkedSinceTheLastLook", TestFillGoesThroughWhatWasMarkedSinceTheLastLook},
		{"FillIsEndedByTheRelayThatLeads", TestFillIsEndedByTheRelayThatLeads},
		{"ReaderBehindAnotherOwnersEventsMissesNothing", TestReaderBehindAnotherOwnersEventsMissesNothing},
		// Numbers and heartbeats.
		{"EventsAreNumberedPerTopicAndSource", TestEventsAreNumberedPerTopicAndSource},
		{"RowThatCantBeSentTakesNoNumber", TestRowThatCantBeSentTakesNoNumber},
		{"NumbersBeginWhenTheBusIsSwapped", TestNumbersBeginWhenTheBusIsSwapped},
		{"UnheardEventsAreCounted", TestUnheardEventsAreCounted},
		{"AnEventIsCountedOnceAsUnheard", TestAnEventIsCountedOnceAsUnheard},
		{"NumberIsKeptWhenAnEventIsSentAgain", TestNumberIsKeptWhenAnEventIsSentAgain},
		{"CrashBeforeTheNumbersAreCommittedTakesNone", TestCrashBeforeTheNumbersAreCommittedTakesNone},
		{"RelayWithoutItsLeaseNumbersNothing", TestRelayWithoutItsLeaseNumbersNothing},
		{"TwoRelaysPublishTheSameNumber", TestTwoRelaysPublishTheSameNumber},
		{"HeartbeatWaitsForWhatAnotherRelayHasNumbered", TestHeartbeatWaitsForWhatAnotherRelayHasNumbered},
		{"WhateverHappensNumbersAreExact", TestWhateverHappensNumbersAreExact},
		// A log that is new or shorter.
		{"TopicThatIsMadeAnewIsGivenWhatIsHeld", TestTopicThatIsMadeAnewIsGivenWhatIsHeld},
		{"LogThatLostItsEndIsGivenItAgain", TestLogThatLostItsEndIsGivenItAgain},
		{"ReaderThatNeverLookedMissesNothing", TestReaderThatNeverLookedMissesNothing},
		{"PurgedEventsThatALogLacksAreCounted", TestPurgedEventsThatALogLacksAreCounted},
		{"ResendThatIsInterruptedIsTakenUp", TestResendThatIsInterruptedIsTakenUp},
		{"PurgeAndResendAtOnce", TestPurgeAndResendAtOnce},
		{"WhateverHappensToTheLogItIsWholeAgain", TestWhateverHappensToTheLogItIsWholeAgain},
		// The purge.
		{"PurgeKeepsWhatIsYoungOrUnsent", TestPurgeKeepsWhatIsYoungOrUnsent},
		{"PurgeGoesPastWhatWasSentLate", TestPurgeGoesPastWhatWasSentLate},
		{"PurgeTakesTheNumbersToo", TestPurgeTakesTheNumbersToo},
		{"PositionsAreNotGivenOutTwice", TestPositionsAreNotGivenOutTwice},
	} {
		t.Run(test.name, test.run)
	}
}

// begin begins a transaction of an owner's own and adds events in it; end commits it.
func begin(t *testing.T, o *Outbox, events ...bus.Event) (end func()) {
	t.Helper()
	tx, err := o.db.BeginTx(t.Context(), nil)
	if err == nil {
		err = o.Add(t.Context(), tx, topic, events...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
	}
}

// A transaction that got its positions first may commit last. Nothing of it is passed over, and no later version of its
// keys goes before it, though it commits while a pass has just read past it.
func TestWhatCommitsLateIsSentInOrderOnPostgres(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	o.pace.batch = 1
	late := begin(t, o, event("a", 1), event("a", 2)) // positions 1 and 2
	var others []bus.Event
	for v := range 5 {
		others = append(others, event("x", v+1)) // 3 to 7
	}
	add(t, o, others...)
	hook := &hookBus{Bus: rec, before: func(e bus.Event) {
		if e.ID == "x-2" { // the pass is past them: they commit, and what follows them too
			late()
			add(t, o, event("a", 3))
		}
	}}
	r, ctx := leading(t, o, hook)
	pass(t, ctx, r)
	if got := strings.Join(published(t, rec, 5), " "); got != "x-1 x-2 x-3 x-4 x-5" {
		t.Errorf("the first pass published %q", got)
	}
	pass(t, ctx, r)
	if got := strings.Join(published(t, rec, 8)[5:], " "); got != "a-1 a-2 a-3" {
		t.Errorf("the second pass published %q", got)
	}
	if s := status(t, o); s.Pending != 0 || s.Sent != 8 {
		t.Errorf("status %+v", s)
	}
}

// hookBus calls before each event is published.
type hookBus struct {
	bus.Bus
	before func(e bus.Event)
}

func (h *hookBus) Publish(ctx context.Context, topic string, events ...bus.Event) error {
	for _, e := range events {
		h.before(e)
	}
	return h.Bus.Publish(ctx, topic, events...)
}

// Many writers, whose transactions overlap and commit in any order, and two relays, whose sessions are cut.
func TestOverlappingWritersAndTwoRelaysOnPostgres(t *testing.T) {
	file := newFile(t)
	o, rec := newOutbox(t, openDB(t, file)), bustest.NewRecorder()
	owner := openDB(t, file)
	if _, err := owner.Exec(`CREATE TABLE thing (key TEXT PRIMARY KEY, version BIGINT NOT NULL)`); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		replica := newOutbox(t, openDB(t, file))
		replica.pace.batch = 7
		relaying(t, replica, rec)
	}
	const writers, writes, keys = 8, 60, 5
	want := make(map[string]int)
	for k := range keys {
		want[fmt.Sprint("k", k)] = writers * writes / keys
	}
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for n := range writes {
				if err := write(owner, o, fmt.Sprint("k", (w+n)%keys)); err != nil {
					t.Error(err)
				}
				if w == 0 && n%15 == 7 { // the relays' sessions, and their pools, are cut
					pgtest.Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '`+
						pgtest.Schema(file)+`' AND query LIKE '%tidings_outbox_%' AND query NOT LIKE 'INSERT INTO tidings_outbox (%' AND state = 'idle'`)
				}
			}
		})
	}
	all.Wait()
	drained(t, o)
	inOrder(t, rec, want)
	if s := status(t, o); s.Sent != writers*writes {
		t.Errorf("%+v, want %d sent", s, writers*writes)
	}
}

// write is a write of an owner, under the lock of its key's row. Cut from its database it does the same again, by
// condition, as the package's documentation tells.
func write(db *sql.DB, o *Outbox, key string) error {
	ctx := context.Background()
	for {
		err := o.InTx(ctx, func(ctx context.Context, tx Tx) error {
			var v int
			err := tx.QueryRowContext(ctx, `INSERT INTO thing (key, version) VALUES ($1, 1)
				ON CONFLICT (key) DO UPDATE SET version = thing.version + 1 RETURNING version`, key).Scan(&v)
			if err != nil {
				return err
			}
			return o.Add(ctx, tx, topic, event(key, v))
		})
		if !errors.Is(err, ErrNotCommitted) {
			return err
		}
	}
}

func TestTenStartAtOnceOnPostgres(t *testing.T) {
	file := newFile(t)
	openDB(t, file)
	var all sync.WaitGroup
	for range 10 {
		db := openDB(t, file)
		all.Go(func() {
			if _, err := New(t.Context(), db, WithLogger(logger(t)), WithStream(topic, "/things"), WithStream("a", "/b")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if s := status(t, newOutbox(t, openDB(t, file))); len(s.Streams) != 2 {
		t.Errorf("status %+v", s)
	}
}

// A host whose clock is wrong by less than a minute takes nothing over that is held.
func TestClocksMayDifferOnPostgres(t *testing.T) {
	file := newFile(t)
	o, rec := newOutbox(t, openDB(t, file)), bustest.NewRecorder()
	relaying(t, o, rec)
	eventually(t, "a relay", func() bool { return holder(t, o) != "" })
	first := holder(t, o)
	for _, wrong := range []time.Duration{50 * time.Second, -50 * time.Second} {
		other := newOutbox(t, openDB(t, file))
		other.now = func() time.Time { return time.Now().Add(wrong) }
		relaying(t, other, rec)
	}
	for v := 1; v <= 50; v++ {
		add(t, o, event("a", v))
		published(t, rec, v)
	}
	if h := holder(t, o); h != first || strings.Contains(logged(o), "taken over") {
		t.Error("the lease was taken over")
	}
}

// A database that takes no answer from anybody is given up after a while, and works again once it does.
func TestADatabaseThatHangsIsGivenUpOnPostgres(t *testing.T) {
	o, rec := newOutbox(t, openDB(t, newFile(t))), bustest.NewRecorder()
	o.pace.answer = 200 * time.Millisecond
	stop := relaying(t, o, rec)
	eventually(t, "a relay", func() bool { return status(t, o).Relaying })
	tx, err := o.db.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = tx.Exec(`LOCK TABLE tidings_outbox_unsent IN ACCESS EXCLUSIVE MODE`)
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a line in the log", func() bool { return strings.Contains(logged(o), "can't be read or written") })
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	add(t, o, event("a", 1))
	published(t, rec, 1)
	stop()
}

// The order in which rows are locked is that of bytes, whatever order the database's users like.
func TestTextsAreInTheOrderOfBytesOnPostgres(t *testing.T) {
	o := newOutbox(t, openDB(t, newFile(t)))
	pgtest.WantByteOrder(t, o.db, "error")
}

// committing is a bus that has something committed while the first events are published.
type committing struct {
	*bustest.Recorder
	once   sync.Once
	commit func()
}

func (c *committing) Publish(ctx context.Context, topic string, events ...bus.Event) error {
	c.once.Do(c.commit)
	return c.Recorder.Publish(ctx, topic, events...)
}

// A transaction may have a position below what a pass has read and one above, and be committed in between. SQLite's
// writers come one at a time.
func aTransactionThatStraddlesABatchKeepsItsOrder(t *testing.T) {
	db := openDB(t, newFile(t))
	o := newOutbox(t, db)
	o.pace.batch = 5
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	put := func(e bus.Event) {
		t.Helper()
		if err := o.Add(t.Context(), tx, topic, e); err != nil {
			t.Fatal(err)
		}
	}
	put(event("a", 1))
	for i := range 30 {
		add(t, o, event(fmt.Sprint("other", i), 1))
	}
	put(event("a", 2))
	add(t, o, event("last", 1))
	b := &committing{Recorder: bustest.NewRecorder(), commit: func() {
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
	}}
	relaying(t, o, b)
	drained(t, o)
	if repeats := inOrder(t, b.Recorder, map[string]int{"a": 2, "last": 1}); repeats > 0 {
		t.Errorf("%d repeats", repeats)
	}
}
