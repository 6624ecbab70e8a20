package soak

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
)

// What garbage is about, so that the checker knows it: keys that no user has, and a source that owns no users.
const (
	garbageKey = "garbage-"
	elsewhere  = "/elsewhere"
)

// spoiler publishes what nobody should: records of the topic again, and garbage. It goes past all links, straight to
// the brokers.
type spoiler struct {
	topic  string
	direct []string
	ledger *ledger

	mu     sync.Mutex
	rng    *rand.Rand
	count  int
	counts map[string]int // what was published, by kind
	// strangers are the events of another source, by id: they are events, and each belongs in the history once.
	strangers map[string]bool
}

// newSpoiler draws what it spoils from the seed. What it finds in the topic is never the same twice.
func newSpoiler(seed uint64, topic string, direct []string, l *ledger) *spoiler {
	return &spoiler{topic: topic, direct: direct, ledger: l, rng: rand.New(rand.NewPCG(seed, 2000)),
		counts: map[string]int{}, strangers: map[string]bool{}}
}

// client connects straight to the brokers, anew for each step: one that has lived through a fault would be slower to come
// back than the fault lasts.
func (s *spoiler) client() (*kgo.Client, error) {
	// Without idempotence the client can give up on what is on its way. That it may then be stored, or be so twice, is
	// all the same here.
	c, err := kgo.NewClient(kgo.SeedBrokers(s.direct...), kgo.DefaultProduceTopic(s.topic),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DisableIdempotentWrite())
	if err != nil {
		return nil, fmt.Errorf("soak: spoiler: %w", err)
	}
	return c, nil
}

const (
	// repeated is how many records in a row are published again.
	repeated = 40
	// spoilTime bounds each of a step's two parts, reading and publishing: the brokers may be away.
	spoilTime = 6 * time.Second
)

// repeat reads some records of one partition, from anywhere in it, and publishes them to the same again, bytes and all:
// in their order, or in any. Of twins that may be both, or the one that everybody has passed over.
func (s *spoiler) repeat(ctx context.Context) error {
	records, err := s.old(ctx)
	if err != nil || len(records) == 0 {
		return err
	}
	s.mu.Lock()
	if s.rng.IntN(2) == 0 {
		s.rng.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	}
	s.mu.Unlock()
	again := make([]*kgo.Record, len(records))
	for i, r := range records {
		again[i] = &kgo.Record{Key: r.Key, Value: r.Value, Headers: r.Headers, Partition: r.Partition}
	}
	return s.publish(ctx, again, "repeated")
}

// old reads some records of a partition, as soon as its leader is there.
func (s *spoiler) old(ctx context.Context) (records []*kgo.Record, err error) {
	c, err := s.client()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var part int32
	var end int64
	err = until(ctx, spoilTime, func(ctx context.Context) (err error) {
		part, end, err = s.somewhere(ctx, c)
		return err
	})
	if err != nil || end == 0 {
		return nil, err
	}
	s.mu.Lock()
	from := s.rng.Int64N(end)
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, spoilTime)
	defer cancel()
	c.AddConsumePartitions(map[string]map[int32]kgo.Offset{s.topic: {part: kgo.NewOffset().At(from)}})
	want := int(min(repeated, end-from))
	for len(records) < want {
		fetched := c.PollRecords(ctx, want-len(records))
		if err := fetched.Err0(); err != nil {
			return nil, err
		}
		records = append(records, fetched.Records()...)
	}
	return records, nil
}

// somewhere is a partition, and where it ends.
func (s *spoiler) somewhere(ctx context.Context, c *kgo.Client) (part int32, end int64, err error) {
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, s.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	part = int32(s.rng.IntN(max(len(ends[s.topic]), 1)))
	at, _ := ends.Lookup(s.topic, part)
	return part, at.Offset, nil
}

// publish returns when everything is stored, or the time is up. kinds is what each record counts as, or all of them.
func (s *spoiler) publish(ctx context.Context, records []*kgo.Record, kinds ...string) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, spoilTime)
	defer cancel()
	var first error
	for i, r := range records {
		kind := kinds[min(i, len(kinds)-1)]
		c.Produce(ctx, r, func(_ *kgo.Record, err error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if err == nil {
				s.counts[kind]++
			}
			first = cmp.Or(first, err)
		})
	}
	if err := c.Flush(ctx); err != nil {
		return fmt.Errorf("soak: spoiler: not everything was stored: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return first
}

// spoil publishes one record of each kind of garbage. There is little of it: more than a hundred keys that can't be
// taken within a minute are for an inbox a reason to stand still.
func (s *spoiler) spoil(ctx context.Context) error {
	old, err := s.old(ctx)
	if err != nil {
		return err
	}
	var records []*kgo.Record
	var kinds []string
	for kind, r := range s.garbage(old) {
		records, kinds = append(records, r), append(kinds, kind)
	}
	return s.publish(ctx, records, kinds...)
}

// garbage makes a record of each kind.
func (s *spoiler) garbage(old []*kgo.Record) map[string]*kgo.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	user := s.ledger.someone(s.rng)
	noise := make([]byte, 1+s.rng.IntN(2000))
	for i := range noise {
		noise[i] = byte(s.rng.Uint32())
	}
	all := map[string]*kgo.Record{
		"random bytes": {Key: []byte(user), Value: append([]byte{0xff}, noise...)}, // a field of a type that there is not
		"no value":     {Key: []byte(user)},
		"unknown type": s.record(bus.Event{Source: "/users", Type: "users.events.v1.UserImagined", Key: s.nobody(), Version: 1, Data: noise}),
		"wrong data":   s.record(bus.Event{Source: "/users", Type: typeOf[*eventsv1.UserUpdated](), Key: s.nobody(), Version: 1, Data: append([]byte{0xff}, noise...)}),
	}
	twin := bus.Event{Source: "/users", Type: typeOf[*eventsv2.UserUpdated](), Key: s.nobody(), Version: 1, Data: append([]byte{0xff}, noise...)}
	all["wrong data of v2"] = s.record(twin)
	if user != "" {
		e := bus.Event{Source: elsewhere, Type: "elsewhere.v1.Seen", Key: user, Version: 0, Data: noise}
		all["another source"] = s.record(e)
	}
	if len(old) > 0 { // without its last byte a length in it is wrong
		r := old[0]
		if n := len(r.Value); n > 0 {
			all["truncated"] = &kgo.Record{Key: r.Key, Value: r.Value[:n-1], Headers: r.Headers, Partition: r.Partition}
		}
	}
	return all
}

// nobody is a key that no user has.
func (s *spoiler) nobody() string { return fmt.Sprintf("%s%d", garbageKey, s.rng.Uint64()) }

// record is an event's, complete but for what the caller leaves out. Where its key is a user's the partition is any all
// the same: it is another source's.
func (s *spoiler) record(e bus.Event) *kgo.Record {
	e.ID, e.Time = fmt.Sprintf("soak-%d-%d", s.count, s.rng.Uint64()), time.Now()
	if e.Source == elsewhere {
		s.strangers[e.ID] = true
	}
	return &kgo.Record{Key: []byte(e.Key), Value: e.AppendEnvelope(nil), Partition: s.rng.Int32N(partitions),
		Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte(bus.TypeEnvelope)}}}
}

// told is what was published, by kind, and the events of another source that may have been.
func (s *spoiler) told() (counts map[string]int, strangers map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts, s.strangers
}
