package inbox

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

// air is a bus without a log, with publishers, and two replicas that share a database, to which anything may happen. What
// they should know of the numbers is reckoned here anew, number by number.
type air struct {
	t          *testing.T
	rnd        *rand.Rand
	path       string
	publishers []*numberer
	replicas   [2]*replica
	told       *heardGaps
	failing    bool // the handlers fail
	known      map[streamKey]*ledger
	sources    map[streamKey]bool // those with a numbering that is known, log left empty
}

// numberer is a publisher's relay.
type numberer struct {
	topic, source string
	generation    int
	seq           uint64
	versions      [5]uint64
}

// replica is an inbox, and what is on its way to it.
type replica struct {
	in     *Inbox
	inbox  []bus.Event
	closed func() error
}

// ledger is what is known of a numbering.
type ledger struct {
	first, highest uint64
	got            map[uint64]bool
}

func newAir(t *testing.T, seed uint64) *air {
	w := &air{
		t: t, rnd: rand.New(rand.NewPCG(seed, 1)), path: filepath.Join(t.TempDir(), "air.db"), told: &heardGaps{},
		known: map[streamKey]*ledger{}, sources: map[streamKey]bool{},
	}
	for _, p := range []numberer{{topic: topic, source: source}, {topic: topic, source: "/zoo"}, {topic: "zoo", source: source}} {
		p.seq = w.rnd.Uint64N(50) // it has published before anybody listened
		w.publishers = append(w.publishers, &p)
	}
	for i := range w.replicas {
		w.replicas[i] = &replica{}
		w.start(w.replicas[i])
	}
	return w
}

// start starts a replica on the database; what was on its way to the one before is lost.
func (w *air) start(r *replica) {
	if r.closed != nil {
		r.closed()
	}
	db := openDB(w.t, w.path)
	mustExec(w.t, db, `PRAGMA synchronous = OFF`)
	mustExec(w.t, db, `CREATE TABLE IF NOT EXISTS applied (n INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT, version INTEGER, name TEXT)`)
	cfg := config(w.t, db)
	cfg.Logger = new(logs).logger()
	cfg.OnGap = func(_ context.Context, g bus.Gap) { w.told.sum += g.Missed }
	r.inbox, r.closed = nil, db.Close
	r.in = mustNew(w.t, cfg, On(func(ctx context.Context, tx Tx, e bus.Event, _ *eventsv1.UserUpdated) error {
		if w.failing && w.rnd.IntN(2) == 0 {
			return errStore
		}
		return insert(ctx, tx, &e, "")
	}))
}

// publish numbers a few events, and sends them, or some of them, to each replica, mostly in order.
func (w *air) publish(p *numberer) {
	for range 1 + w.rnd.IntN(12) {
		k := w.rnd.IntN(len(p.versions))
		p.seq++
		p.versions[k]++
		e := updated(w.t, fmt.Sprint("k", k, "-", p.generation), p.versions[k], "")
		e.Source = p.source
		w.send(p, e)
	}
}

func (w *air) beat(p *numberer) {
	e, err := bus.Heartbeat{Source: p.source}.Event()
	if err != nil {
		w.t.Fatal(err)
	}
	w.send(p, e)
}

func (w *air) send(p *numberer, e bus.Event) {
	e = numbered(e, fmt.Sprint("log", p.generation), p.seq)
	e.At.Topic = p.topic
	for _, r := range w.replicas {
		switch w.rnd.IntN(10) {
		case 0, 1: // lost
		case 2: // later than others
			r.inbox = slices.Insert(r.inbox, w.rnd.IntN(len(r.inbox)+1), e)
		case 3: // and again
			r.inbox = append(r.inbox, e, e)
		default:
			r.inbox = append(r.inbox, e)
		}
	}
}

// deliver hands over some of what is on its way.
func (w *air) deliver(r *replica) {
	n := w.rnd.IntN(min(len(r.inbox), 15) + 1)
	heard, told := r.inbox[:n], w.told.sum
	d := deliveryOf(heard)
	if err := r.in.handle(context.Background(), d); err != nil {
		if !w.failing || w.told.sum != told {
			w.t.Fatalf("%v; told of %d", err, w.told.sum-told)
		}
		return // it comes again
	}
	r.inbox = r.inbox[n:]
	if missed := w.learn(d); w.told.sum-told != missed {
		w.t.Fatalf("OnGap heard of %d, want %d", w.told.sum-told, missed)
	}
}

// word is what one event or heartbeat says of a numbering.
type word struct {
	of      streamKey
	base    uint64 // the first number that counts, if this is the lowest that is heard
	highest uint64
	got     bool // number highest itself has come
}

func wordsOf(d bus.Delivery) (said []word) {
	for _, e := range d.Events {
		said = append(said, word{streamKey{e.At.Topic, e.Source, e.SeqLog}, e.Seq, e.Seq, true})
	}
	for _, h := range d.Heartbeats {
		said = append(said, word{streamKey{h.Topic, h.Source, h.SeqLog}, h.Seq + 1, h.Seq, false})
	}
	return said
}

// learn reckons what a delivery says, and returns how many numbers it shows to be missing.
func (w *air) learn(d bus.Delivery) (missed uint64) {
	said, before := wordsOf(d), map[streamKey]uint64{}
	knew := maps.Clone(w.sources)
	for _, a := range said {
		if w.known[a.of] == nil {
			w.known[a.of] = w.begin(a, said, knew)
		}
		before[a.of] = w.known[a.of].highest
	}
	for _, a := range said {
		l := w.known[a.of]
		l.highest = max(l.highest, a.highest)
		if a.got {
			l.got[a.highest] = true
		}
	}
	for k, highest := range before {
		missed += w.known[k].missed(highest + 1)
	}
	return missed
}

// begin makes the ledger of a numbering that was not known. Events tell which of two numberings is the older one by
// their order; heartbeats, which stand beside them, don't: for those only what was known before is older.
func (w *air) begin(heard word, said []word, knew map[streamKey]bool) *ledger {
	k, older := heard.of, w.sources
	if !heard.got {
		older = knew
	}
	first, of := uint64(1), streamKey{topic: k.topic, source: k.source}
	if !older[of] {
		first = math.MaxUint64
		for _, a := range said {
			if a.of == k {
				first = min(first, a.base)
			}
		}
	}
	w.sources[of] = true
	return &ledger{first: first, highest: first - 1, got: map[uint64]bool{}}
}

// missed counts what has not come of the numbers from n on.
func (l *ledger) missed(n uint64) (missed uint64) {
	for ; n <= l.highest; n++ {
		if !l.got[n] {
			missed++
		}
	}
	return missed
}

// happens lets one random thing happen.
func (w *air) happens() {
	r, p := w.replicas[w.rnd.IntN(2)], w.publishers[w.rnd.IntN(len(w.publishers))]
	switch w.rnd.IntN(14) {
	default:
		w.deliver(r)
	case 0, 1, 2, 3:
		w.publish(p)
	case 4:
		w.beat(p)
	case 5: // a failure in the middle of a transaction
		w.failing = true
		w.deliver(r)
		w.failing = false
	case 6: // a connection is cut
		r.inbox = r.inbox[:w.rnd.IntN(len(r.inbox)+1)]
	case 7: // a restart
		w.start(r)
	case 8: // the publisher's database was lost, and a new one is made
		if w.rnd.IntN(5) == 0 {
			p.generation++
			p.seq, p.versions = 0, [5]uint64{}
		}
	}
}

// check compares what the inbox knows with what was reckoned.
func (w *air) check() {
	w.t.Helper()
	s := status(w.t, w.replicas[0].in)
	sum := int64(0)
	for _, got := range s.Streams {
		l := w.known[streamKey{got.Topic, got.Source, got.SeqLog}]
		if l == nil {
			w.t.Fatalf("nobody has told of %+v", got)
		}
		want := got
		want.First, want.Highest, want.Missed = l.first, l.highest, int64(l.missed(l.first))
		if got != want {
			w.t.Fatalf("got  %+v\nwant %+v", got, want)
		}
		sum += want.Missed
	}
	if len(s.Streams) != len(w.known) || s.Missed != sum {
		w.t.Fatalf("missed %d of %d streams, want %d of %d", s.Missed, len(s.Streams), sum, len(w.known))
	}
}

func TestWhateverHappensWhatWasMissedIsCountedExactly(t *testing.T) {
	const events = 250
	for seed := range seeds(t, 12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newAir(t, seed)
			for range events {
				w.happens()
				w.check()
			}
			if w.told.sum == 0 {
				t.Fatal("nothing was ever missed: the test shows nothing")
			}
		})
	}
}
