package inbox

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

// A deep queue costs no more a reaction than a shallow one: whoever looks for the next walks the index, in order, and
// stops. Sorting the queue for each made a hundred thousand mails take an hour.
func TestLookingForDueReactionsSortsNothing(t *testing.T) {
	db := newDB(t)
	_, err := New(Config{Group: "g", Topics: []string{topic}, DB: db},
		After(func(context.Context, bus.Event, *eventsv1.UserCreated) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]any{nextText: {"g", 9}, dueText: {"g", 1, 9}} {
		rows, err := db.Query(`EXPLAIN QUERY PLAN `+name, args...)
		if err != nil {
			t.Fatal(err)
		}
		var plan []string
		for rows.Next() {
			var id, parent, unused int
			var step string
			if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
				t.Fatal(err)
			}
			plan = append(plan, step)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(plan, "\n"); strings.Contains(text, "TEMP B-TREE FOR ORDER") || !strings.Contains(text, "tidings_inbox_queue_due") {
			t.Errorf("%s\nis planned as\n%s", name, text)
		}
	}
}

// BenchmarkDeepQueue performs reactions that have piled up.
func BenchmarkDeepQueue(b *testing.B) {
	const depth = 20_000
	rec := bustest.NewRecorder()
	events := make([]bus.Event, depth)
	for i := range events {
		events[i] = created(b, "user-"+string(rune('a'+i%26))+time.Duration(i).String(), 1, "X")
	}
	if err := rec.Publish(b.Context(), topic, events...); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		in, err := New(Config{Group: "g", Topics: []string{topic}, DB: newDB(b)},
			After(func(context.Context, bus.Event, *eventsv1.UserCreated) error { return nil }))
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(b.Context())
		ended := make(chan error, 1)
		go func() { ended <- in.Run(ctx, rec) }()
		tick := time.NewTicker(50 * time.Millisecond)
		for {
			s, err := in.Status(ctx)
			if err == nil && s.Keys == depth && s.Queue == 0 {
				break
			}
			<-tick.C
		}
		tick.Stop()
		cancel()
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(depth*b.N)/b.Elapsed().Seconds(), "reactions/s")
}
