package inbox

import (
	"context"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

// racingBus answers like a broker while another replica reads on: each answer is out of date as soon as it is given.
type racingBus struct {
	bus.Bus
	moves []int64 // where the other replica stands after each answer
	step  func(next int64)
	ends  []int64 // the log's end in each answer
	asked int
}

func (b *racingBus) Partitions(context.Context, ...string) ([]bus.Partition, error) {
	i := min(b.asked, len(b.ends)-1)
	b.asked++
	if i < len(b.moves) {
		b.step(b.moves[i])
	}
	return []bus.Partition{partition(0, "l", 0, b.ends[i], 0)}, nil
}

// A position that another replica moves on while the broker is asked is not outside of its log.
func TestAPositionThatMovesWhileTheBrokerIsAskedIsNotGivenUp(t *testing.T) {
	db := newDB(t)
	in, err := New(Config{Group: "g", Topics: []string{topic}, DB: db},
		On(func(context.Context, Tx, bus.Event, *eventsv1.UserCreated) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, `INSERT INTO tidings_inbox_position (grp, topic, part, log, next, whole) VALUES ('g', $1, 0, 'l', 50, $2)`, topic, true)
	b := &racingBus{Bus: bustest.NewRecorder(), moves: []int64{150}, ends: []int64{100, 150}, step: func(next int64) {
		mustExec(t, db, `UPDATE tidings_inbox_position SET next = $1 WHERE grp = 'g'`, next)
	}}
	var asked bus.Bus = b
	broker := asked.(bus.Inspector)
	in.broker.Store(&broker)
	next, err := in.resume(t.Context(), []bus.Partition{partition(0, "l", 0, 40, 0)})
	if err != nil || next[0] != 40 {
		t.Fatalf("Resume answered %v, %v; want 40, up to where the bus knows the log", next, err)
	}
	var stored int64
	if err := db.QueryRow(`SELECT next FROM tidings_inbox_position`).Scan(&stored); err != nil || stored != 150 {
		t.Errorf("the position is %d, %v; want 150, where the other replica left it", stored, err)
	}
}
