package inbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb/pgtest"
	"google.golang.org/protobuf/proto"
)

// world is a log, a database and a reader of it, to which anything may happen.
type world struct {
	t       *testing.T
	rnd     *rand.Rand
	gaps    Gaps
	clock   *clock
	dir     string
	path    string
	copies  []string
	log     *tape
	in      *Inbox
	cursor  []int64         // where the bus reads on; lost with a restart
	truth   map[string]bool // "key:version" and "key:0 name" of everything that was published
	newest  map[string]uint64
	failing bool // the handlers fail somewhere in the next delivery
}

// The log that every seed begins with.
const (
	worldParts    = 3
	worldKeys     = 9
	worldVersions = 12
)

func newWorld(t *testing.T, seed uint64, gaps Gaps) *world {
	w := &world{
		t: t, rnd: rand.New(rand.NewPCG(seed, 0)), gaps: gaps, clock: newClock(), dir: t.TempDir(),
		log: newTape(t, worldParts), truth: map[string]bool{}, newest: map[string]uint64{},
	}
	w.path = filepath.Join(w.dir, "world.db")
	w.write()
	w.open()
	return w
}

// write fills the log: each key's versions in a partition of its own, mostly in order, some late, some repeated.
func (w *world) write() {
	for k := range worldKeys {
		key, part := fmt.Sprint("k", k), k%worldParts
		versions := make([]uint64, worldVersions)
		for i := range versions {
			versions[i] = uint64(i + 1)
		}
		for range w.rnd.IntN(3) {
			i := w.rnd.IntN(len(versions))
			j := min(i+1+w.rnd.IntN(4), len(versions)-1) // it comes up to four places late
			v := versions[i]
			versions = slices.Insert(slices.Delete(versions, i, i+1), j, v)
		}
		for i, v := range versions {
			w.put(part, updated(w.t, key, v, ""))
			if w.rnd.IntN(4) == 0 { // the relay sends the last few again
				for _, v := range versions[max(0, i-w.rnd.IntN(4)) : i+1] {
					w.put(part, updated(w.t, key, v, ""))
				}
			}
		}
		w.newest[key] = worldVersions
		loose := created(w.t, key, 0, "loose")
		w.put(part, loose)
		w.put(part, loose)
	}
}

func (w *world) put(part int, e bus.Event) {
	w.log.put(part, e)
	w.truth[fmt.Sprintf("%s:%d", e.Key, e.Version)] = true
}

// open starts the service on its database file.
func (w *world) open() {
	db := openDB(w.t, w.path)
	mustExec(w.t, db, `PRAGMA synchronous = OFF`) // nobody cuts the power here
	mustExec(w.t, db, `CREATE TABLE IF NOT EXISTS applied (n INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT, version INTEGER, name TEXT)`)
	cfg := config(w.t, db)
	cfg.Gaps, cfg.Attempts = w.gaps, -1
	w.clock.config(&cfg)
	cfg.Logger = new(logs).logger()
	routes := recordAll()
	for i := range routes[:2] {
		do := routes[i].event
		routes[i].event = func(ctx context.Context, tx Tx, e *bus.Event, m proto.Message) error {
			if err := do(ctx, tx, e, m); err != nil || !w.failing || w.rnd.IntN(5) > 0 {
				return err
			}
			if w.rnd.IntN(2) == 0 {
				return errStore
			}
			return errTest
		}
	}
	w.in = mustNew(w.t, cfg, routes...)
	w.resume()
}

func (w *world) resume() { w.cursor = w.log.resume(w.in) }

// deliver hands over some of what follows the cursor, as a bus does.
func (w *world) deliver(most int) {
	var cuts []cut
	for p := range worldParts {
		if n := min(w.rnd.Int64N(int64(most)+1), w.log.end(p)-w.cursor[p]); n > 0 {
			cuts = append(cuts, cut{p, w.cursor[p], w.cursor[p] + n})
		}
	}
	if w.hand(cuts) {
		for _, c := range cuts {
			w.cursor[c.part] = max(w.cursor[c.part], c.to)
		}
	}
}

// hand hands a delivery over, and reports whether it is done.
func (w *world) hand(cuts []cut) bool {
	err := w.in.handle(context.Background(), w.log.delivery(cuts...))
	switch _, again := bus.RereadPositions(err); {
	case again:
		w.resume()
		return false
	case errors.Is(err, errTest):
		return false
	case err != nil:
		w.t.Fatal(err)
	}
	return true
}

// happens lets one random thing happen.
func (w *world) happens() {
	switch w.rnd.IntN(13) {
	default:
		w.deliver(8)
	case 0: // a failure in the middle of a transaction
		w.failing = true
		w.deliver(8)
		w.failing = false
	case 1: // another member, which has lost its partition without knowing, delivers from anywhere
		p := w.rnd.IntN(worldParts)
		from := w.rnd.Int64N(w.log.end(p))
		w.hand([]cut{{p, from, from + w.rnd.Int64N(w.log.end(p)-from) + 1}})
	case 2: // a rewind
		p := w.rnd.IntN(worldParts)
		mustExec(w.t, w.in.cfg.DB, `UPDATE tidings_inbox_position SET next = $1 WHERE part = $2 AND next > $1`, w.rnd.Int64N(w.log.end(p)), p)
	case 3: // a restart
		w.in.cfg.DB.Close()
		w.open()
	case 4: // a copy is kept
		name := filepath.Join(w.dir, fmt.Sprintf("copy%d.db", len(w.copies)))
		keep(w.t, w.in.cfg.DB, w.path, name)
		w.copies = append(w.copies, name)
	case 5: // a copy is put back
		if len(w.copies) > 0 {
			w.in.cfg.DB.Close()
			replace(w.t, w.path, w.copies[w.rnd.IntN(len(w.copies))])
			w.open()
		}
	case 7: // what was parked is tried, and may fail again
		w.failing = w.rnd.IntN(2) == 0
		w.clock.pass(time.Duration(w.rnd.Int64N(int64(time.Minute))))
		step(w.t, w.in)
		w.failing = false
	case 6: // time passes, and what has waited long enough goes on
		w.clock.pass(time.Duration(w.rnd.Int64N(int64(w.in.gapWait()))))
		mustRelease(w.in)
	}
}

// settle delivers the rest of the log, and lets the time pass that is waited for what is missing.
func (w *world) settle() {
	for p := 0; p < worldParts; {
		if w.cursor[p] < w.log.end(p) {
			w.deliver(20)
		} else {
			p++
		}
	}
	w.clock.pass(2 * time.Hour)
	mustRelease(w.in)
	retry(w.t, w.in, w.clock)
}

// seeds is how many seeds are tried: fewer where each takes seconds.
func seeds(t *testing.T, n uint64) uint64 {
	if pgtest.On(t) {
		return n / 4
	}
	return n
}

func TestWhateverHappensEffectsAreRight(t *testing.T) {
	const events = 120
	for _, gaps := range []Gaps{Newest, Every} {
		for seed := range seeds(t, 12) {
			t.Run(fmt.Sprintf("%d/%d", gaps, seed), func(t *testing.T) {
				w := newWorld(t, seed, gaps)
				for range events {
					w.happens()
				}
				w.settle()
				w.check()
			})
		}
	}
}

// check compares what was applied with what was published.
func (w *world) check() {
	s := status(w.t, w.in)
	if s.Keys != worldKeys || s.Versions != worldKeys*worldVersions || s.Waiting != 0 || s.Holes != 0 || s.Parked != 0 || s.Behind != 0 {
		w.t.Errorf("status is %+v", s)
	}
	last, seen := map[string]uint64{}, map[string]int{}
	for _, a := range applications(w.t, w.in.cfg.DB) {
		key, v := parseApplied(w.t, a)
		seen[fmt.Sprintf("%s:%d", key, v)]++
		if w.gaps == Newest && v > 0 && v <= last[key] {
			w.t.Errorf("key %s: version %d was applied after %d", key, v, last[key])
		}
		last[key] = max(last[key], v)
	}
	for at := range w.truth {
		_, v := parseApplied(w.t, at+" ")
		if n := seen[at]; n > 1 || n < 1 && (v == 0 || w.gaps == Every) {
			w.t.Errorf("%s was applied %d times, want exactly once", at, n)
		}
	}
	for key, v := range w.newest {
		if last[key] != v {
			w.t.Errorf("key %s is at version %d, want %d", key, last[key], v)
		}
	}
}

func parseApplied(t testing.TB, a string) (key string, version uint64) {
	t.Helper()
	i := slices.Index([]byte(a), ':')
	if _, err := fmt.Sscan(a[i+1:], &version); err != nil {
		t.Fatalf("%q: %v", a, err)
	}
	return a[:i], version
}
