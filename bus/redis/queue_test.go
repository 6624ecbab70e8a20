package redis

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/bus"
)

// counting is a queue that counts what it drops.
func counting(limit int) (*queue, *[2]int) {
	n := &[2]int{} // at the end, for want of room
	return newQueue(limit, func(_ string, full bool) {
		if full {
			n[1]++
		} else {
			n[0]++
		}
	}), n
}

func messages(from, to, size int) []message {
	var all []message
	for i := from; i < to; i++ {
		all = append(all, message{"topic", fmt.Sprintf("%0*d", size, i)})
	}
	return all
}

func TestAQueueGivesBackWhatItTookInOrder(t *testing.T) {
	q, dropped := counting(1 << 20)
	q.push(messages(0, 1000, 10))
	var got []message
	for len(got) < 1000 {
		<-q.filled
		got = q.take(got, 7)
	}
	for i, m := range got {
		if m != messages(i, i+1, 10)[0] {
			t.Fatalf("message %d is %+v", i, m)
		}
	}
	if *dropped != [2]int{} || q.bytes != 0 {
		t.Errorf("%v were dropped, %d bytes are left", *dropped, q.bytes)
	}
}

func TestAFullQueueDropsTheOldest(t *testing.T) {
	const size = 1000
	q, dropped := counting(10 * (size + messageBytes))
	q.push(messages(0, 25, size))
	got := q.take(nil, 100)
	if len(got) != 10 || got[0] != messages(15, 16, size)[0] || dropped[1] != 15 {
		t.Errorf("%d are left, the first is %.10q…, %d were dropped", len(got), got[0].payload, dropped[1])
	}
}

func TestAQueueHoldsAMessageThatIsLargerThanIt(t *testing.T) {
	q, dropped := counting(1000)
	q.push(messages(0, 3, 10))
	q.push(messages(3, 4, 5000))
	if got := q.take(nil, 100); len(got) != 1 || dropped[1] != 3 {
		t.Errorf("%d are left, %d were dropped", len(got), dropped[1])
	}
	q.push(messages(4, 5, 10))
	if got := q.take(nil, 100); len(got) != 1 || dropped[1] != 3 {
		t.Errorf("%d are left, %d were dropped", len(got), dropped[1])
	}
}

// Whatever the order of things, each message is taken or counted, and the room is never exceeded.
func TestAQueueLosesNothingUncounted(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		q, dropped := counting(20_000)
		pushed, taken, last := 0, 0, -1
		for range 300 {
			if r.IntN(2) == 0 {
				n := r.IntN(40)
				q.push(messages(pushed, pushed+n, 5+r.IntN(500)))
				pushed += n
			} else {
				for _, m := range q.take(nil, r.IntN(60)) {
					var i int
					if _, err := fmt.Sscanf(strings.TrimLeft(m.payload, "0")+" ", "%d", &i); err != nil && strings.Trim(m.payload, "0") != "" {
						t.Fatal(err)
					}
					if i <= last && last >= 0 {
						t.Fatalf("seed %d: %d came after %d", seed, i, last)
					}
					last = i
					taken++
				}
			}
			if q.bytes > q.limit {
				t.Fatalf("seed %d: %d bytes are held", seed, q.bytes)
			}
		}
		held := len(q.items) - q.head
		if pushed != taken+dropped[1]+held {
			t.Fatalf("seed %d: %d pushed, %d taken, %d dropped, %d held", seed, pushed, taken, dropped[1], held)
		}
		if q.discard(); dropped[0] != held || q.bytes != 0 {
			t.Fatalf("seed %d: %d held, %d counted at the end, %d bytes left", seed, held, dropped[0], q.bytes)
		}
	}
}

func TestHeartbeatsAreDroppedUncounted(t *testing.T) {
	q, dropped := counting(3000)
	beat, err := bus.Heartbeat{Topic: "topic", Source: "/s"}.Event()
	if err != nil {
		t.Fatal(err)
	}
	q.push([]message{{"topic", string(beat.AppendEnvelope(nil))}, {"topic", "not a " + bus.TypeHeartbeat}})
	q.push(messages(0, 1, 2700))
	if dropped[1] != 1 {
		t.Errorf("%d were counted", dropped[1])
	}
}

// beatMessage is a heartbeat as it comes.
func beatMessage(t *testing.T, log string, seq uint64) message {
	t.Helper()
	e, err := bus.Heartbeat{Source: "/s", SeqLog: log, Seq: seq}.Event()
	if err != nil {
		t.Fatal(err)
	}
	return message{"topic", string(e.AppendEnvelope(nil))}
}

// beatsOf are the heartbeats of a delivery of these messages: "log seq".
func beatsOf(messages []message) (beats []string) {
	b := &batch{messages: messages}
	for _, h := range b.delivery().Heartbeats {
		beats = append(beats, fmt.Sprint(h.SeqLog, " ", h.Seq))
	}
	return beats
}

// How far a numbering has come must be heard, however many heartbeats were pushed out.
func TestTheHighestHeartbeatOutlivesAnOverflow(t *testing.T) {
	for _, tt := range []struct {
		came []uint64
		want []string
	}{
		{[]uint64{5, 9, 12}, []string{"x 5", "x 12"}},
		{[]uint64{12, 9, 5}, []string{"x 5", "x 12"}},
		{[]uint64{9, 5, 12, 7, 3}, []string{"x 3", "x 12"}},
		{[]uint64{5, 5, 5}, []string{"x 5"}},
	} {
		q, _ := counting(5000)
		for _, seq := range tt.came {
			q.push([]message{beatMessage(t, "x", seq)})
		}
		q.push(messages(0, 4, 1000))
		check(t, beatsOf(q.take(nil, 100)), tt.want...)
	}
}

// Counting begins right behind the first heartbeat that is heard: an overflow must not take it away.
func TestTheLowestHeartbeatOutlivesAnOverflow(t *testing.T) {
	q, dropped := counting(5000)
	q.push([]message{beatMessage(t, "x", 2), beatMessage(t, "y", 7), beatMessage(t, "x", 0), beatMessage(t, "x", 9)})
	q.push(messages(0, 10, 1000))
	q.close()
	if *dropped != [2]int{0, 7} {
		t.Errorf("%v were counted", *dropped)
	}
	got := q.take(nil, 100)
	check(t, beatsOf(got), "x 0", "y 7", "x 9")
	if len(got) != 3+3 || got[len(got)-1] != messages(9, 10, 1000)[0] || !q.over() {
		t.Errorf("%d were taken; over: %v", len(got), q.over())
	}
	if left := q.take(nil, 100); len(left) != 0 {
		t.Errorf("%d were taken twice", len(left))
	}
}

func TestHeartbeatsThatAreKeptAreBoundedAndEndWithTheQueue(t *testing.T) {
	q, _ := counting(5000)
	for i := range maxBeats + 100 {
		q.push([]message{beatMessage(t, fmt.Sprint(i), 1)})
	}
	q.push(messages(0, 4, 1000))
	if q.close(); len(q.beats) != maxBeats {
		t.Errorf("%d are kept", len(q.beats))
	}
	if q.discard(); !q.over() {
		t.Error("it is not over")
	}
}

func TestADeliveryHasTheLowestAndTheHighestHeartbeatOfEachNumbering(t *testing.T) {
	for name, tt := range map[string]struct {
		came []message
		want []string
	}{
		"one":        {[]message{beatMessage(t, "x", 3)}, []string{"x 3"}},
		"repeats":    {[]message{beatMessage(t, "x", 3), beatMessage(t, "x", 3)}, []string{"x 3"}},
		"rising":     {[]message{beatMessage(t, "x", 0), beatMessage(t, "x", 3), beatMessage(t, "x", 5)}, []string{"x 0", "x 5"}},
		"falling":    {[]message{beatMessage(t, "x", 5), beatMessage(t, "x", 3), beatMessage(t, "x", 0)}, []string{"x 0", "x 5"}},
		"in between": {[]message{beatMessage(t, "x", 1), beatMessage(t, "y", 1), beatMessage(t, "x", 3), beatMessage(t, "x", 2)}, []string{"x 1", "y 1", "x 3"}},
	} {
		t.Run(name, func(t *testing.T) { check(t, beatsOf(tt.came), tt.want...) })
	}
}

func TestAClosedQueueIsOverOnceItIsEmpty(t *testing.T) {
	q, _ := counting(1000)
	q.push(messages(0, 1, 1))
	q.close()
	if q.over() {
		t.Error("it is over before it is empty")
	}
	if got := q.take(nil, 10); len(got) != 1 || !q.over() {
		t.Errorf("%d taken, over: %v", len(got), q.over())
	}
}

func BenchmarkQueue(b *testing.B) {
	q, _ := counting(64 << 20)
	came := messages(0, 150, 400)
	var got []message
	for b.Loop() {
		q.push(came)
		got = q.take(got[:0], 1000)
	}
}
