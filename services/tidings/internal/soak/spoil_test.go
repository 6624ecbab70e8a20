package soak

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/embedded"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// overheard is what a reader of a topic gets, sorted by what can be made of it.
type overheard struct {
	mu     sync.Mutex
	events []bus.Event
	spoilt int // records that are no event
}

// overhear reads a topic until the test ends.
func overhear(t *testing.T, b bus.Bus, topic string) *overheard {
	t.Helper()
	o := &overheard{}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- b.Subscribe(ctx, bus.Subscription{Group: "overhear", Topics: []string{topic}}, func(_ context.Context, d bus.Delivery) error {
			o.mu.Lock()
			defer o.mu.Unlock()
			for _, e := range d.Events {
				if e.Err != nil {
					o.spoilt++
				} else {
					o.events = append(o.events, e)
				}
			}
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return o
}

// until waits for so many events and records that are none.
func (o *overheard) until(t *testing.T, events, spoilt int) []bus.Event {
	t.Helper()
	err := until(t.Context(), soon, func(context.Context) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		if len(o.events) != events || o.spoilt != spoilt {
			return fmt.Errorf("%d events and %d other records, want %d and %d", len(o.events), o.spoilt, events, spoilt)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.events)
}

// What is published again is the same to the last attribute, and of garbage there is every kind.
func TestTheSpoilerRepeatsAndSpoils(t *testing.T) {
	k, err := embedded.StartKafka(t.Context(), embedded.KafkaConfig{Addr: "127.0.0.1:0", Dir: filepath.Join(t.TempDir(), "kafka"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closes(t, k) })
	b, err := backends.Open(t.Context(), k.URL()+fmt.Sprintf("?partitions=%d", partitions), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closes(t, b) })
	const topic = "spoilt"
	u := servicetest.NewUser("ada@example.com", "Ada")
	if err := b.Publish(t.Context(), topic, u.Created(t)); err != nil {
		t.Fatal(err)
	}
	o := overhear(t, b, topic)
	before := o.until(t, 1, 0)[0]

	at, err := url.Parse(k.URL())
	if err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	l.add(Write{Verb: Create, User: u.ID, Outcome: Acknowledged, Version: 1})
	s := newSpoiler(1, topic, []string{at.Host}, l)
	repeatOne(t, s)
	after := o.until(t, 2, 0)[1]
	if after.ID != before.ID || after.Version != before.Version || after.At.Partition != before.At.Partition || after.At.Offset == before.At.Offset {
		t.Errorf("%+v came again as %+v", before, after)
	}
	old, err := s.old(t.Context())
	for err == nil && len(old) == 0 { // it looks into any partition
		old, err = s.old(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	for kind, r := range s.garbage(old[:1]) {
		if err := s.publish(t.Context(), []*kgo.Record{r}, kind); err != nil {
			t.Fatal(err)
		}
	}
	kinds := map[string]bool{}
	for _, e := range o.until(t, 6, 3)[2:] {
		kinds[e.Source+" "+e.Type] = true
	}
	want := map[string]bool{
		source + " users.events.v1.UserImagined": true, source + " " + typeOf[*eventsv1.UserUpdated](): true, source + " " + typeOf[*eventsv2.UserUpdated](): true, elsewhere + " elsewhere.v1.Seen": true,
	}
	if fmt.Sprint(kinds) != fmt.Sprint(want) {
		t.Errorf("garbage is %v", kinds)
	}
	counts, strangers := s.told()
	if len(strangers) != 1 || counts["truncated"] != 1 || counts["random bytes"] != 1 || counts["repeated"] != 1 {
		t.Errorf("counts %v, %d strangers", counts, len(strangers))
	}
}

// repeatOne has something published again: the first partition that is looked into may be empty.
func repeatOne(t *testing.T, s *spoiler) {
	t.Helper()
	for {
		if err := s.repeat(t.Context()); err != nil {
			t.Fatal(err)
		}
		if counts, _ := s.told(); counts["repeated"] > 0 {
			return
		}
	}
}

func closes(t *testing.T, c interface{ Close(context.Context) error }) {
	t.Helper()
	if err := c.Close(context.Background()); err != nil {
		t.Error(err)
	}
}
