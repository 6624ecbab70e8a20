package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidings-dev/tidings/bus"
)

// Reading says what [Read] reads, and who hears of it.
type Reading struct {
	Topic string
	// Start is where it begins. A topic that is made later, or again, is read from its start.
	Start bus.Start
	// OnStart, where set, hears where it begins in each partition (Offset), in order, before the first event, and
	// again of those that are added to the topic, or of all where it was made anew.
	OnStart func(parts []bus.Partition)
	// OnMissing, where set, hears once that the topic isn't there, with the topics that are. It is waited for.
	OnMissing func(there []string)
	// Log is told of a broker that is away. nil discards it.
	Log *slog.Logger
}

// Read hands the events of a topic to take as they are read, for somebody who looks on: without a consumer group, and
// so with no trace at the broker, no share of anybody's work, and no position that outlives it. It makes no topic. A
// service subscribes instead ([bus.Subscriber]).
//
// rawURL is a kafka:// address as [bus.Open] takes it. Each call of take gets what is ready, 1,000 events at most, all
// in order within a partition, and so within a key; between partitions there is no order. Records that are no events
// come with Err set; heartbeats don't come. take must not keep the slice.
//
// Read blocks until ctx ends, and returns nil then, or until take returns an error, which it returns as it is. A broker
// that is away is waited for. An address or a topic's name that is wrong is an error at once.
func Read(ctx context.Context, rawURL string, r Reading, take func([]bus.Event) error) error {
	set, err := readingOf(rawURL, r)
	if err != nil {
		return fmt.Errorf("bus: read: %w", err)
	}
	if r.Log == nil {
		r.Log = slog.New(slog.DiscardHandler)
	}
	a, err := newAdmin(set, newThrottle(r.Log))
	if err != nil {
		return fmt.Errorf("bus: read: %w", err)
	}
	defer a.close()
	l := &looker{Reading: r, set: set, admin: a, take: take, next: make(map[int32]int64)}
	if err := l.run(ctx); l.refused == nil && ctx.Err() == nil {
		return err
	}
	return l.refused
}

// readingOf checks what is asked for.
func readingOf(rawURL string, r Reading) (settings, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return settings{}, errors.New("the address is no URL") // which may hold a secret, so it isn't repeated
	}
	if u.Scheme != scheme {
		return settings{}, fmt.Errorf("that is no address of Kafka (and isn't shown, for it may hold a password); write %s://host:9092", scheme)
	}
	set, err := parseSettings(u)
	return set, errors.Join(err, checkName(r.Topic))
}

// looker is one call of [Read]: a row of clients, of which mostly there is one. A client reads the partitions that it
// was given; where those are others by now, there is another client.
type looker struct {
	Reading
	set   settings
	admin *admin
	take  func([]bus.Event) error

	refused error           // of take, which ends it
	log     string          // the topic's id; "" before it was found
	next    map[int32]int64 // where to read on in each of its partitions
	away    bool            // the broker didn't answer when it was asked last
}

const (
	// watchEvery is how often the topic is looked at: whether it has more partitions, or is another one by now.
	watchEvery = 2 * time.Second
	// missingEvery is how often a topic that isn't there is looked for.
	missingEvery = 500 * time.Millisecond
)

func (l *looker) run(ctx context.Context) error {
	for {
		if err := l.find(ctx); err != nil {
			return err
		}
		if err := l.follow(ctx); err != nil || ctx.Err() != nil {
			return err
		}
	}
}

// find waits for the broker and the topic, and sets where to read on.
func (l *looker) find(ctx context.Context) error {
	for missing := false; ; missing = true {
		var parts []bus.Partition
		err := l.admin.insist(ctx, "topic "+l.Topic, func(ctx context.Context) (err error) {
			parts, err = l.admin.partitions(ctx, l.Start, l.Topic)
			return err
		})
		if err != nil {
			return err
		}
		if len(parts) > 0 {
			l.begin(parts)
			return nil
		}
		if !missing {
			l.missing(ctx)
		}
		l.Start = bus.Earliest() // all that it will hold is new
		if !sleep(ctx, missingEvery) {
			return context.Cause(ctx)
		}
	}
}

// begin takes over the partitions as they are. Those that are known are read on, unless the log no longer holds the
// place: then the reason is told, and they are read from their start.
func (l *looker) begin(parts []bus.Partition) {
	first := l.log == ""
	if l.log != parts[0].Log {
		if clear(l.next); !first {
			l.Log.Warn("the topic was deleted and made anew; it is read from its start")
		}
		l.log = parts[0].Log
	}
	var begun []bus.Partition
	for _, p := range parts {
		next, known := l.next[p.Partition]
		gap, lost := l.lost(p)
		if known && !lost {
			continue
		}
		if known {
			l.Log.Warn("a partition is read again from its start", "partition", p.Partition, "was_at", next, "reason", gap.Reason)
		}
		if !first {
			p.Offset = p.First
		}
		l.next[p.Partition] = p.Offset
		begun = append(begun, p)
	}
	if len(begun) > 0 && l.OnStart != nil {
		l.OnStart(begun)
	}
}

// lost reports whether the log as it stands has no place where we are in p.
func (l *looker) lost(p bus.Partition) (bus.Gap, bool) {
	was := p.Position
	was.Offset, was.Log = l.next[p.Partition], l.log
	return gapOf(was, p)
}

// missing tells that the topic isn't there, and which are.
func (l *looker) missing(ctx context.Context) {
	if l.OnMissing == nil {
		return
	}
	var there []string
	_ = l.admin.once(ctx, func(ctx context.Context) error { // without it, it is still true that the topic isn't there
		found, err := l.admin.adm.ListTopics(ctx)
		there = slices.Sorted(maps.Keys(found))
		return err
	})
	l.OnMissing(there)
}

// follow reads with one client. It returns nil when there has to be another.
func (l *looker) follow(ctx context.Context) error {
	cl, err := l.client()
	if err != nil {
		return fmt.Errorf("bus: read: %w", err)
	}
	defer cl.Close()
	for looked := time.Now(); ctx.Err() == nil; {
		polling, cancel := context.WithTimeout(ctx, watchEvery)
		fetched := cl.PollRecords(polling, bus.DefaultMaxBatch)
		cancel()
		if err := l.pass(fetched); err != nil {
			return err
		}
		if l.failed(ctx, fetched) {
			return nil
		}
		if time.Since(looked) < watchEvery {
			continue
		}
		if l.moved(ctx) {
			return nil
		}
		looked = time.Now()
	}
	return nil
}

// client reads every partition from where we are. Where the log has no such place it says so, and never goes elsewhere
// by itself.
func (l *looker) client() (*kgo.Client, error) {
	opts, err := l.set.admin()
	if err != nil {
		return nil, err
	}
	places := make(map[int32]kgo.Offset, len(l.next))
	for number, next := range l.next {
		places[number] = kgo.NewOffset().At(next)
	}
	return kgo.NewClient(append(opts,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.Topic: places}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), // what subscribers see
		kgo.FetchMaxBytes(fetchMaxBytes),
		kgo.BrokerMaxReadBytes(4*fetchMaxBytes),
		kgo.MaxConcurrentFetches(2), // bounds what is read ahead of a slow terminal
	)...)
}

// pass decodes what was read, and hands it on.
func (l *looker) pass(fetched kgo.Fetches) error {
	events := make([]bus.Event, 0, fetched.NumRecords())
	fetched.EachRecord(func(r *kgo.Record) {
		l.next[r.Partition] = r.Offset + 1
		var e bus.Event
		decode(messageOf(r), &e)
		e.At = bus.Position{Topic: r.Topic, Log: l.log, Partition: r.Partition, Offset: r.Offset}
		if _, beat := e.Heartbeat(); !beat {
			events = append(events, e)
		}
	})
	if len(events) == 0 {
		return nil
	}
	l.refused = l.take(events)
	return l.refused
}

// messageOf makes of a record what the other client would have made of it.
func messageOf(r *kgo.Record) *ck.Message {
	m := &ck.Message{
		TopicPartition: ck.TopicPartition{Topic: &r.Topic, Partition: r.Partition, Offset: ck.Offset(r.Offset)},
		Key:            r.Key, Value: r.Value, Timestamp: r.Timestamp,
	}
	for _, h := range r.Headers {
		m.Headers = append(m.Headers, ck.Header{Key: h.Key, Value: h.Value})
	}
	return m
}

// failed reports whether the client met what it doesn't get over by itself. After a moment there is another.
func (l *looker) failed(ctx context.Context, fetched kgo.Fetches) bool {
	failed := false
	fetched.EachError(func(_ string, partition int32, err error) {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) { // ours: nothing was there
			return
		}
		failed = true
		l.admin.log.Log(slog.LevelWarn, "read", "reading failed, and is tried again", "partition", partition, "err", err)
	})
	return failed && (sleep(ctx, missingEvery) || true)
}

// moved asks whether the partitions are still those that we read. A broker that is away is told of; the client waits for
// it by itself.
func (l *looker) moved(ctx context.Context) bool {
	var parts []bus.Partition
	err := l.admin.once(ctx, func(ctx context.Context) (err error) {
		parts, err = l.admin.partitions(ctx, bus.Earliest(), l.Topic)
		return err
	})
	if err != nil {
		if ctx.Err() == nil {
			l.away = true
			l.admin.log.Log(slog.LevelWarn, "look", "the broker doesn't answer, and is waited for", "err", err)
		}
		return false
	}
	if l.away {
		l.away = false
		l.admin.log.again("look")
		l.Log.Warn("the broker answers again")
	}
	if len(parts) != len(l.next) {
		return true // the topic is gone, or has grown
	}
	return slices.ContainsFunc(parts, func(p bus.Partition) bool {
		_, lost := l.lost(p)
		return lost
	})
}
