package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/twmb/franz-go/pkg/kadm"
)

// database is a reader's own record: positions and effects that change together, as in a transaction.
type database struct {
	mu      sync.Mutex
	next    map[bus.Position]int64 // by position without offset
	applied map[string]int         // how often each event was
	order   map[string]uint64      // the last version of each key
	asked   [][]bus.Partition
	faults  []string
	rereads int
}

func newDatabase() *database {
	return &database{next: map[bus.Position]int64{}, applied: map[string]int{}, order: map[string]uint64{}}
}

// partitionOf is where a position's log is kept under.
func partitionOf(p bus.Position) bus.Position {
	p.Offset = 0
	return p
}

// resume is a Subscription.Resume. A log that is new to the database is read from where the bus proposes.
func (db *database) resume(_ context.Context, parts []bus.Partition) ([]int64, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.asked = append(db.asked, slices.Clone(parts))
	offsets := make([]int64, len(parts))
	for i, p := range parts {
		at, ok := db.next[partitionOf(p.Position)]
		if !ok {
			at = p.Offset
		}
		if at < p.First {
			at = p.First
		}
		db.next[partitionOf(p.Position)] = at
		// Another member may have gone on since the bus looked at the log: then what is below is left out by handle.
		offsets[i] = min(at, p.Next)
	}
	return offsets, nil
}

// handle applies a delivery by the rules of the inbox: row = from, apply; row > from, leave out what is below;
// row < from, ask again.
func (db *database) handle(_ context.Context, d bus.Delivery) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	var again []bus.Position
	skip := map[bus.Position]int64{}
	for _, r := range d.Ranges {
		log := partitionOf(r.Position)
		row, ok := db.next[log]
		if !ok || row < r.Offset {
			again = append(again, r.Position)
			skip[log] = r.Next
			continue
		}
		skip[log] = row
		db.next[log] = max(row, r.Next)
	}
	for _, e := range d.Events {
		if e.At.Offset < skip[partitionOf(e.At)] {
			continue
		}
		db.applied[e.ID]++
		if e.Version != db.order[e.Key]+1 {
			db.faults = append(db.faults, fmt.Sprintf("%s: version %d after %d", e.Key, e.Version, db.order[e.Key]))
		}
		db.order[e.Key] = e.Version
	}
	db.rereads += len(again)
	return bus.Reread(again...)
}

// empty is what a deleted database is: nothing.
func (db *database) empty() {
	db.mu.Lock()
	defer db.mu.Unlock()
	clear(db.next)
	clear(db.applied)
	clear(db.order)
}

func (db *database) count() int {
	db.mu.Lock()
	defer db.mu.Unlock()
	return len(db.applied)
}

// check fails unless each of n events was applied once, in order.
func (db *database) check(t *testing.T, n int) {
	t.Helper()
	db.mu.Lock()
	defer db.mu.Unlock()
	if len(db.applied) != n {
		t.Errorf("%d events were applied, want %d", len(db.applied), n)
	}
	for id, times := range db.applied {
		if times != 1 {
			t.Errorf("%s was applied %d times", id, times)
		}
	}
	for _, f := range db.faults {
		t.Error(f)
	}
}

func TestResumeIsAskedForAllPartitionsFirstAndThenForThoseAssigned(t *testing.T) {
	t.Parallel()
	url := brokerURL(t)
	topic := unique(t, "topic")
	db := newDatabase()
	sub := bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}, Resume: db.resume}
	first := open(t, url, "partitions=4")
	publish(t, first, topic, events(1, 10, keys(40)...)...)
	one := subscribe(t, first, sub, db.handle)
	one.waitFor(400)
	two := subscribe(t, open(t, url), sub, db.handle)
	eventually(t, "the second member's share", func() bool {
		db.mu.Lock()
		defer db.mu.Unlock()
		return len(db.asked) >= 4
	})
	publish(t, first, topic, events(11, 20, keys(40)...)...)
	eventually(t, "all events", func() bool { return db.count() == 800 })
	db.check(t, 800)
	if err := errors.Join(one.stop(), two.stop()); err != nil {
		t.Error(err)
	}
	if all := db.asked[0]; len(all) != 4 || !slices.IsSortedFunc(all, func(a, b bus.Partition) int { return int(a.Partition - b.Partition) }) {
		t.Errorf("first asked for %v", all)
	}
	if share := db.asked[3]; len(share) == 4 {
		t.Errorf("the second member was asked for %v", share)
	}
	for _, p := range db.asked[0] {
		if p.Log == "" || p.First != 0 || p.Offset != 0 || p.Next == 0 {
			t.Errorf("described as %+v", p)
		}
	}
}

func TestResumesAnswerIsWhereReadingGoesOn(t *testing.T) {
	t.Parallel()
	b := open(t, brokerURL(t), "partitions=1")
	topic := unique(t, "topic")
	publish(t, b, topic, events(1, 20, "a")...)
	var mu sync.Mutex
	answers := []any{errors.New("the database is away"), int64(-1), int64(21), []int64{1, 2}, int64(15)}
	resume := func(_ context.Context, parts []bus.Partition) ([]int64, error) {
		mu.Lock()
		defer mu.Unlock()
		answer := answers[0]
		if len(answers) > 1 {
			answers = answers[1:]
		}
		switch a := answer.(type) {
		case error:
			return nil, a
		case []int64:
			return a, nil
		default:
			return []int64{a.(int64)}, nil
		}
	}
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}, Resume: resume}, nil)
	s.waitFor(5)
	if d := s.deliveries[0]; d.Ranges[0].Offset != 15 || d.Events[0].Version != 16 {
		t.Errorf("began with %+v", d.Ranges)
	}
}

func TestRereadDropsWhatWasReadAheadAndAsksAgain(t *testing.T) {
	t.Parallel()
	b := open(t, brokerURL(t))
	topic := unique(t, "topic")
	db := newDatabase()
	publish(t, b, topic, events(1, 50, keys(40)...)...)
	var once sync.Once
	emptied := make(chan struct{})
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}, Resume: db.resume, MaxBatch: 50},
		func(ctx context.Context, d bus.Delivery) error {
			if db.count() >= 500 { // somebody deletes the rows while it runs
				once.Do(func() { db.empty(); close(emptied) })
			}
			return db.handle(ctx, d)
		})
	<-emptied
	// A partition with nothing more to deliver would not find out, so each gets more.
	publish(t, b, topic, events(51, 60, keys(40)...)...)
	eventually(t, "all events", func() bool { return db.count() == 2400 })
	db.check(t, 2400)
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if db.rereads == 0 {
		t.Error("nothing was read again")
	}
}

func TestAnEmptiedDatabaseGetsEverythingAgain(t *testing.T) {
	t.Parallel()
	b := open(t, brokerURL(t))
	topic := unique(t, "topic")
	db := newDatabase()
	sub := bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}, Resume: db.resume}
	publish(t, b, topic, events(1, 40, keys(10)...)...)
	s := subscribe(t, b, sub, db.handle)
	eventually(t, "all events", func() bool { return db.count() == 400 })
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	db.empty()
	subscribe(t, b, sub, db.handle)
	eventually(t, "all events again", func() bool { return db.count() == 400 })
	db.check(t, 400)
}

func TestEventsThatTheLogNoLongerHoldsAreAGap(t *testing.T) {
	t.Parallel()
	url := brokerURL(t)
	b := open(t, url, "partitions=1")
	topic := unique(t, "topic")
	publish(t, b, topic, events(1, 100, "a")...)
	blocked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}, MaxBatch: 10},
		func(context.Context, bus.Delivery) error {
			once.Do(func() { close(blocked); <-release })
			return nil
		})
	<-blocked
	// The reader is paused by its own slowness; meanwhile the log is cut off behind what it has fetched.
	publish(t, b, topic, events(101, 200, "a")...)
	eventually(t, "the pause to throw away what was fetched", func() bool {
		var offsets kadm.Offsets
		offsets.AddOffset(topic, 0, 150, -1)
		deleted, err := kadm.NewClient(client(t, url)).DeleteRecords(t.Context(), offsets)
		return err == nil && deleted.Error() == nil
	})
	close(release)
	eventually(t, "the rest", func() bool {
		got := s.got()
		return len(got) > 0 && got[len(got)-1].Version == 200
	})
	versions := map[uint64]int{}
	for _, e := range s.got() {
		versions[e.Version]++
	}
	for v := uint64(151); v <= 200; v++ {
		if versions[v] != 1 {
			t.Errorf("version %d arrived %d times", v, versions[v])
		}
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	// Where everything had been fetched in time nothing is missing, else the gap is told.
	if len(versions) < 200 {
		checkGap(t, s.gaps, "the log starts at 150")
	}
}

func checkGap(t *testing.T, gaps []bus.Gap, reason string) {
	t.Helper()
	for _, g := range gaps {
		if strings.HasPrefix(g.Reason, reason) {
			return
		}
	}
	t.Errorf("gaps %+v, want one because %s", gaps, reason)
}

func TestAGroupWhoseOffsetIsGoneStartsAtWhatIsLeft(t *testing.T) {
	t.Parallel()
	url := brokerURL(t)
	b := open(t, url, "partitions=1")
	topic := unique(t, "topic")
	sub := bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}
	publish(t, b, topic, events(1, 10, "a")...)
	s := subscribe(t, b, sub, nil)
	s.waitFor(10)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	publish(t, b, topic, events(11, 30, "a")...)
	var offsets kadm.Offsets
	offsets.AddOffset(topic, 0, 20, -1)
	if _, err := kadm.NewClient(client(t, url)).DeleteRecords(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}
	again := subscribe(t, b, sub, nil)
	again.waitFor(10)
	if got := again.got(); got[0].Version != 21 {
		t.Errorf("began with version %d", got[0].Version)
	}
	if err := again.stop(); err != nil {
		t.Error(err)
	}
	checkGap(t, again.gaps, "the log starts at 20, behind position 10")
	if again.gaps[0].Missed != 10 {
		t.Errorf("%d missed", again.gaps[0].Missed)
	}
}

func TestATopicThatIsMadeAnewIsReadFromItsStart(t *testing.T) {
	t.Parallel()
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			url := brokerURL(t)
			topic := unique(t, "topic")
			db := newDatabase()
			s := readAnew(t, url, topic, protocol, db, 5) // shorter than the first was
			eventually(t, "the new topic's events", func() bool { return db.count() == 50 })
			publish(t, open(t, url), topic, events(6, 20, keys(10)...)...)
			eventually(t, "later events", func() bool { return db.count() == 200 })
			db.check(t, 200)
			if err := s.stop(); err != nil {
				t.Error(err)
			}
			checkGap(t, s.gaps, "the topic was deleted and made anew")
			db.mu.Lock()
			defer db.mu.Unlock()
			logs := map[string]bool{}
			for p := range maps.Keys(db.next) {
				logs[p.Log] = true
			}
			if len(logs) != 2 {
				t.Errorf("%d logs in the database", len(logs))
			}
		})
	}
}

// Nothing tells at once that the offset is of another log, where the new one is longer: some events may come twice,
// but none may stay behind.
func TestATopicThatIsMadeAnewAndLongerIsReadWhole(t *testing.T) {
	t.Parallel()
	for _, protocol := range protocols {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			db := newDatabase()
			s := readAnew(t, brokerURL(t), unique(t, "topic"), protocol, db, 30)
			eventually(t, "the new topic's events", func() bool { return db.count() == 300 })
			if err := s.stop(); err != nil {
				t.Error(err)
			}
			checkGap(t, s.gaps, "the topic was deleted and made anew")
		})
	}
}

// readAnew has ten versions of ten keys read, and then another topic of the name with n.
func readAnew(t *testing.T, url, topic, protocol string, db *database, n int) *subscriber {
	t.Helper()
	b := open(t, url, "partitions=2", "group.protocol="+protocol)
	publish(t, b, topic, events(1, 10, keys(10)...)...)
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}, Resume: db.resume}, db.handle)
	eventually(t, "the events", func() bool { return db.count() == 100 })
	if _, err := kadm.NewClient(client(t, url)).DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	db.mu.Lock()
	clear(db.applied)
	clear(db.order)
	db.mu.Unlock()
	// The producer that filled the old topic counts on, which the new one may refuse; so another.
	publish(t, open(t, url, "partitions=2"), topic, events(1, n, keys(10)...)...)
	return s
}
