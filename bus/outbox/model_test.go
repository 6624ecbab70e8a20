package outbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

// model is an owner in two processes, to which everything happens that may: it knows what was committed.
type model struct {
	t         *testing.T
	rand      *rand.Rand
	file      string
	bus       *pubsub
	processes [2]*process
	committed map[streamKey]map[string]string // id to key and version, in each stream
	versions  map[string]int
}

// process is one that runs a relay.
type process struct {
	o    *Outbox
	stop func()
}

func newModel(t *testing.T, seed uint64) *model {
	m := &model{
		t: t, rand: rand.New(rand.NewPCG(seed, 4)), file: newFile(t), bus: newPubsub(),
		committed: make(map[streamKey]map[string]string), versions: make(map[string]int),
	}
	m.bus.air.cut = true
	for i := range m.processes {
		m.start(i)
	}
	return m
}

// start starts a process.
func (m *model) start(i int) {
	o := newOutbox(m.t, openDB(m.t, m.file))
	o.pace.batch, o.pace.pass, o.pace.probe = 1+m.rand.IntN(20), 50, 2
	o.pace.firstDelay, o.pace.lastDelay, o.pace.lease = time.Millisecond, 5*time.Millisecond, 100*time.Millisecond
	o.pace.look, o.pace.beat, o.pace.partly = 20*time.Millisecond, 5*time.Millisecond, 50*time.Millisecond
	m.processes[i] = &process{o, relaying(m.t, o, m.bus)}
}

// restart ends a process and starts it again.
func (m *model) restart(i int) {
	m.processes[i].stop()
	m.processes[i].o.db.Close()
	m.start(i)
}

// any is one of the outboxes.
func (m *model) any() *Outbox { return m.processes[m.rand.IntN(len(m.processes))].o }

// commit stores some events of one topic, or takes them back.
func (m *model) commit() {
	topic := []string{"one", "two"}[m.rand.IntN(2)]
	back := m.rand.IntN(8) == 0
	no := errors.New("taken back")
	err := m.any().InTx(m.t.Context(), func(ctx context.Context, tx Tx) error {
		for range 1 + m.rand.IntN(6) {
			source, key := []string{"/a", "/b"}[m.rand.IntN(2)], fmt.Sprint("k", m.rand.IntN(5))
			of := topic + source + key
			e := from(source, key, m.versions[of]+1)
			if back {
				e.ID += " taken back"
			} else {
				m.note(topic, e)
				m.versions[of]++
			}
			if err := m.any().Add(ctx, tx, topic, e); err != nil {
				return err
			}
		}
		if back {
			return no
		}
		return nil
	})
	if err != nil && !errors.Is(err, no) {
		m.t.Fatal(err)
	}
}

func (m *model) note(topic string, e bus.Event) {
	k := streamKey{topic, e.Source}
	if m.committed[k] == nil {
		m.committed[k] = make(map[string]string)
	}
	m.committed[k][e.ID] = fmt.Sprintf("%s-%d", e.Key, e.Version)
}

// weather sets how many in a hundred are refused, and stored and said to be refused.
func (m *model) weather() {
	refused := []int{0, 0, 10, 60, 100}[m.rand.IntN(5)]
	stored := []int{0, 10, 40}[m.rand.IntN(3)]
	chance := rand.New(rand.NewPCG(m.rand.Uint64(), 1)) // used under the bus's lock
	m.bus.refuse(func(string, bus.Event) error {
		switch n := chance.IntN(100); {
		case n < refused:
			return errors.New("refused")
		case n < refused+stored:
			return fmt.Errorf("the answer was lost: %w", bustest.ErrStored)
		}
		return nil
	})
}

// work waits until the relays have tried something, heartbeats too.
func (m *model) work() {
	want := m.bus.tried() + 1 + m.rand.IntN(15)
	eventually(m.t, "a relay at work", func() bool { return m.bus.tried() >= want })
}

// step does one thing.
func (m *model) step() {
	switch n := m.rand.IntN(40); {
	case n < 24:
		m.commit()
	case n < 32:
		m.work()
	case n < 36:
		m.weather()
	case n < 38:
		rob(m.t, m.any(), "thief")
	default:
		m.restart(m.rand.IntN(len(m.processes)))
	}
}

// check is for the end, when nothing fails any more.
func (m *model) check() {
	m.bus.refuse(nil)
	s := drained(m.t, m.any())
	var seen map[streamKey]*numbering
	eventually(m.t, "a heartbeat on each stream", func() bool {
		seen = numberings(m.t, m.bus.all())
		for k, ids := range m.committed {
			if seen[k] == nil || seen[k].beat != uint64(len(ids)) {
				return false
			}
		}
		return true
	})
	for k, ids := range m.committed {
		if n := seen[k]; n.early > 0 {
			m.t.Errorf("%v: %d numbers came before a lower one", k, n.early)
		} else if int(n.highest) != len(ids) || len(n.byID) != len(ids) {
			m.t.Errorf("%v: %d events were committed, %d published, numbered up to %d", k, len(ids), len(n.byID), n.highest)
		}
		for id := range seen[k].byID {
			if ids[id] == "" {
				m.t.Errorf("%v: %q was published and not committed", k, id)
			}
		}
	}
	if len(seen) != len(m.committed) || len(s.Streams) != len(m.committed) {
		m.t.Errorf("streams %v and %+v, committed %v", slices.Collect(maps.Keys(seen)), s.Streams, slices.Collect(maps.Keys(m.committed)))
	}
	for _, st := range s.Streams {
		if k := (streamKey{st.Topic, st.Source}); int(st.Seq) != len(m.committed[k]) || st.SeqLog != seen[k].log {
			m.t.Errorf("status %+v, committed %d", st, len(m.committed[k]))
		}
	}
	m.checkOrder(s)
}

// checkOrder looks at the numbers of each key, which rise with its versions, and at the count of what was sent.
func (m *model) checkOrder(s Status) {
	type history struct {
		streamKey
		key string
	}
	last := make(map[history]bus.Event)
	total := 0
	for _, e := range m.bus.events() {
		k := history{streamKey{e.At.Topic, e.Source}, e.Key}
		before := last[k]
		if e.Version > before.Version+1 || (e.Version > before.Version) != (e.Seq > before.Seq) {
			m.t.Errorf("%v: version %d with number %d after version %d with %d", k, e.Version, e.Seq, before.Version, before.Seq)
		}
		if e.Version > before.Version {
			last[k] = e
			total++
		}
	}
	if s.Sent != int64(total) {
		m.t.Errorf("%d are counted as sent, of %d", s.Sent, total)
	}
}

func TestWhateverHappensNumbersAreExact(t *testing.T) {
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			m := newModel(t, seed)
			m.commit() // so that there is something to tell of while idle
			for range 200 {
				m.step()
			}
			m.check()
			t.Logf("%d events were committed; %d published, and %d heartbeats", status(t, m.any()).Sent, len(m.bus.events()), len(m.bus.all())-len(m.bus.events()))
		})
	}
}
