package bustest

import (
	"context"
	"log/slog"
	"net/url"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tidings-dev/tidings/bus"
)

// Recorder is a [bus.Bus] and a [bus.Inspector] in memory, with all four guarantees while it lives. Events go
// through the envelope's codec, so a handler gets what a broker would give it and shares nothing with the
// publisher. All methods are safe for concurrent use. Make one with [NewRecorder].
type Recorder struct {
	bus.Bus
	m *memory
}

// RecorderOption is a setting of [NewRecorder].
type RecorderOption func(*settings)

type settings struct {
	partitions int
	now        func() time.Time
	log        *slog.Logger
	hooks      bus.Hooks
}

// WithPartitions sets how many partitions a topic has when it is made. The default is 4.
func WithPartitions(n int) RecorderOption { return func(s *settings) { s.partitions = n } }

// WithClock sets the clock that says when an event was received, for [bus.Since]. The default is [time.Now].
func WithClock(now func() time.Time) RecorderOption { return func(s *settings) { s.now = now } }

// WithLogger sets where failed deliveries and losses are logged. The default discards them.
func WithLogger(l *slog.Logger) RecorderOption { return func(s *settings) { s.log = l } }

// WithHooks sets the hooks of the Recorder's own connection.
func WithHooks(h bus.Hooks) RecorderOption { return func(s *settings) { s.hooks = h } }

// NewRecorder makes a Recorder without topics. It starts nothing, and need not be closed.
func NewRecorder(opts ...RecorderOption) *Recorder {
	s := settings{partitions: 4, now: time.Now, log: slog.New(slog.DiscardHandler)}
	for _, opt := range opts {
		opt(&s)
	}
	m := newMemory(s.partitions, s.now)
	inner := &conn{m: m, log: s.log}
	return &Recorder{Bus: bus.Wrap(inner, bus.WithLogger(s.log), bus.WithHooks(s.hooks)), m: m}
}

// Partitions says where the topics' logs stand; see [bus.Inspector].
func (r *Recorder) Partitions(ctx context.Context, topics ...string) ([]bus.Partition, error) {
	return r.Bus.(bus.Inspector).Partitions(ctx, topics...)
}

// Backend lets [bus.Open] make further connections to the same memory, as other processes would have, by the URL
// recorder://memory. Each is closed on its own.
func (r *Recorder) Backend() bus.Backend {
	return bus.Backend{
		Schemes: []string{"recorder"},
		Open: func(_ context.Context, u *url.URL, log *slog.Logger) (bus.Bus, error) {
			if _, err := bus.ParseParams(u); err != nil {
				return nil, err
			}
			return &conn{m: r.m, log: log}, nil
		},
	}
}

// Published returns everything that was ever stored in topic, in the order of storing, with At filled in; what was
// truncated or deleted since stays in it.
func (r *Recorder) Published(topic string) []bus.Event {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	return parseAll(r.m.history[topic])
}

// Messages returns the messages of type M that were published to topic, in the order of storing. Events of other
// types, or whose data is no M, are left out.
func Messages[M proto.Message](r *Recorder, topic string) []M {
	var ms []M
	for _, e := range r.Published(topic) {
		if m, err := bus.Decode[M](e); err == nil {
			ms = append(ms, m)
		}
	}
	return ms
}

// WaitPublished waits until n events have been stored in topic, and returns all that have. It returns ctx's error,
// and what there is, if ctx ends before.
func (r *Recorder) WaitPublished(ctx context.Context, topic string, n int) ([]bus.Event, error) {
	err := r.m.wait(ctx, func() bool { return len(r.m.history[topic]) >= n })
	return r.Published(topic), err
}

// Drain waits until the group has handled everything that topic's log holds at the time of the call, and returns
// ctx's error if ctx ends before. A group that is done with the log and has left it counts as drained.
func (r *Recorder) Drain(ctx context.Context, group, topic string) error {
	r.m.mu.Lock()
	ends := make(map[*partition]int64)
	for _, p := range r.m.topics[topic] {
		ends[p] = p.next()
	}
	r.m.mu.Unlock()
	return r.m.wait(ctx, func() bool { return r.m.drained(group, ends) })
}

// SetDown takes the broker away, or gives it back. Meanwhile Publish and Partitions block, no delivery begins, and
// subscriptions hear that they are not ready. What is stored stays.
func (r *Recorder) SetDown(down bool) {
	r.m.change(func() { r.m.down = down })
}

// FailPublish makes fn decide about every event that is about to be stored: an error refuses it, and with it the
// later events of its key in the same call. An error that wraps [ErrStored] comes after the event was stored: only
// the acknowledgement is lost. A nil fn ends it. fn is called under a lock: it must not use the Recorder.
func (r *Recorder) FailPublish(fn func(topic string, e bus.Event) error) {
	r.m.change(func() { r.m.fail = fn })
}

// DeleteTopic removes topic with all that it holds. Its next use makes it anew, with another log id.
func (r *Recorder) DeleteTopic(topic string) {
	r.m.change(func() { r.m.delete(topic) })
}

// Truncate drops what a partition holds below first, as a retention does. It never goes beyond the log's end.
func (r *Recorder) Truncate(topic string, partition int32, first int64) {
	r.m.change(func() { r.m.topic(topic)[partition].truncate(first) })
}

// Shorten drops what a partition holds at offset next and behind it, as a broker does that has lost the end of its log.
// Readers that were beyond it begin again where the log does, or where Resume says.
func (r *Recorder) Shorten(topic string, partition int32, next int64) {
	r.m.change(func() { r.m.topic(topic)[partition].shorten(next) })
}

// AddPartitions gives topic n partitions, unless it has as many. Keys move, as they do on a broker.
func (r *Recorder) AddPartitions(topic string, n int) {
	r.m.change(func() { r.m.grow(topic, n) })
}

// PutRaw stores a record that may be anything, as another program could have put it there, and returns where. What
// is no CloudEvent is delivered with [bus.Event].Err set.
func (r *Recorder) PutRaw(topic, key string, value []byte) bus.Position {
	var at bus.Position
	r.m.change(func() { at = r.m.store(topic, key, value) })
	return at
}
