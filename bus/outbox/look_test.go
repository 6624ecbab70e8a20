package outbox

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
)

// mute is a log of which the ends of some topics can't be had, as where a partition has no leader.
type mute struct {
	*bustest.Recorder
	topic string
}

func (m mute) Partitions(ctx context.Context, topics ...string) ([]bus.Partition, error) {
	for _, t := range topics {
		if t == m.topic {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	}
	return m.Recorder.Partitions(ctx, topics...)
}

// publishedSoon fails the test where an event is not published long before a question is given up.
func publishedSoon(t *testing.T, o *Outbox, rec *bustest.Recorder, e bus.Event, within time.Duration) {
	t.Helper()
	n, began := len(rec.Published(topic)), time.Now()
	add(t, o, e)
	eventually(t, e.ID, func() bool { return len(rec.Published(topic)) > n })
	if took := time.Since(began); took > within {
		t.Errorf("%s was published after %v", e.ID, took)
	}
}

func TestLogThatNeverAnswersIsWaitedForOnce(t *testing.T) {
	o, rec := quick(t), bustest.NewRecorder(bustest.WithPartitions(1))
	stop := relaying(t, o, rec)
	addEvents(t, o, 1, 3)
	drained(t, o)
	stop()
	o.pace.away = 2 * time.Second
	began := time.Now()
	relaying(t, o, mute{rec, topic})
	add(t, o, event("a", 4))
	published(t, rec, 4)
	if took := time.Since(began); took < o.pace.away/2 {
		t.Errorf("the first one came after %v, without a wait", took)
	}
	for v := 5; v < 15; v++ {
		publishedSoon(t, o, rec, event("a", v), o.pace.away/2)
	}
}

// Nothing that a shorter log acknowledged is marked before there is an answer, however many were waited for in vain.
func TestDoubtLastsUntilThereIsAnAnswer(t *testing.T) {
	o, rec := quick(t), bustest.NewRecorder(bustest.WithPartitions(1))
	o.pace.compare, o.pace.away = 50*time.Millisecond, 2*time.Second
	in, no := &asking{Bus: rec}, errors.New("not today")
	stop := relaying(t, o, in)
	addEvents(t, o, 1, 40)
	drained(t, o)
	stop()
	in.err.Store(&no)
	stop = relaying(t, o, in)
	eventually(t, "a question", func() bool { return in.n.Load() > 1 })
	rec.Shorten(topic, 0, 5)
	add(t, o, event("a", 41))
	eventually(t, "an acknowledgement from the shorter log", func() bool { return len(rec.Published(topic)) > 40 })
	if s := status(t, o); s.Pending != 1 {
		t.Errorf("%+v", s)
	}
	in.err.Store(nil)
	whole(t, rec, map[string]int{"a": 41})
	drained(t, o)
	stop()
}

const given = "given_up" // a topic

func TestTopicThatCannotBeDescribedHoldsUpItsOwnPurgeOnly(t *testing.T) {
	var c clock
	o, rec := quick(t, WithKeep(time.Hour)), bustest.NewRecorder(bustest.WithPartitions(1))
	o.now, o.pace.purgeEvery, o.pace.purgeStep = c.now, 5*time.Millisecond, 10
	o.pace.away = 500 * time.Millisecond
	stop := relaying(t, o, rec)
	for v := 1; v <= 30; v++ {
		if err := addTo(t.Context(), o, given, event("old", v)); err != nil {
			t.Fatal(err)
		}
	}
	addEvents(t, o, 1, 30)
	drained(t, o)
	stop()
	c.turn(2 * time.Hour)

	stop = relaying(t, o, mute{rec, given})
	left := func(topic string) int {
		return count(t, o.db, `SELECT count(*) FROM tidings_outbox WHERE topic = $1`, topic)
	}
	eventually(t, "the purge of the other topic", func() bool { return left(topic) == 0 })
	if n := left(given); n != 30 {
		t.Errorf("%d events are held of a log that was not looked at", n)
	}
	rec.Shorten(topic, 0, 20) // which is found, although the other log doesn't answer
	eventually(t, "what was purged and is lost", func() bool { return status(t, o).Lacking == 10 })
	stop()
	stop = relaying(t, o, rec)
	eventually(t, "the purge of all", func() bool { return left(given) == 0 })
	stop()

	// Nothing is held any more that could be sent again: nobody waits for that log.
	o.pace.away = time.Minute
	relaying(t, o, mute{rec, given})
	publishedSoon(t, o, rec, event("a", 31), 20*time.Second)
}
