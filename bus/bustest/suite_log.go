package bustest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidings-dev/tidings/bus"
)

var logTests = []test{
	{"a new group starts at the earliest event", keepsLog, testStartEarliest},
	{"a new group starts behind the latest event", keepsLog, testStartLatest},
	{"a new group starts with the first event since a time", keepsLog, testStartSince},
	{"nothing advances before the handler returns", keepsLog, testNothingAdvances},
	{"ranges cover the log without a gap", keepsLog, testRanges},
	{"partitions say where the log stands", keepsLog, testPartitions},
	{"resume is asked for every partition and obeyed", keepsLog, testResume},
	{"resume is told where a new group would start", keepsLog, testResumeStart},
	{"resume is asked again until it answers", keepsLog, testResumeAgain},
	{"reread asks resume again, for what it names", keepsLog, testReread},
}

// A new service is filled from what was published before it existed.
func testStartEarliest(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	es := events(5, keys(20)...)
	k.publish(b, topic, es...)
	c, _ := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}})
	c.await(k, es)
}

// The start is fixed once, in every partition: events that are published while the group is away are not skipped by
// starting behind the latest one again.
func testStartLatest(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	k.publish(b, topic, events(5, keys(20)...)...)
	s := bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}, Start: bus.Latest()}
	c, r := k.listen(b, s)
	after := events(5, keys(20)...)
	k.publish(b, topic, after...)
	c.await(k, after)
	r.stop()
	// The group has a position now, in every partition.
	away := events(5, keys(50)...)
	k.publish(b, topic, away...)
	c, _ = k.listen(b, s)
	c.await(k, away, after...)
}

// The time is one between two bursts, far enough from either for brokers that count in milliseconds.
func testStartSince(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	k.publish(b, topic, events(5, keys(20)...)...)
	done := time.Now()
	since := done.Add(20 * time.Millisecond)
	k.eventually("the clock has moved on", func() bool { return time.Now().After(since) })
	after := events(5, keys(20)...)
	k.publish(b, topic, after...)
	c, _ := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}, Start: bus.Since(since)})
	c.await(k, after)
}

// The handler is still at work when its subscription ends. What it did not finish is not done, whatever the broker was
// told meanwhile: an offset committed too early is the classic way to lose events.
func testNothingAdvances(k *kit) {
	b, s := k.open(), bus.Subscription{Group: k.fresh("group"), Topics: []string{k.fresh("topic")}}
	var got collector
	handler := func(ctx context.Context, d bus.Delivery) error {
		got.add(d)
		<-ctx.Done()
		return ctx.Err()
	}
	r := k.subscribe(b, s, handler)
	r.awaitReady(true)
	es := events(5, keys(20)...)
	k.publish(b, s.Topics[0], es...)
	k.eventually("the handler is called", func() bool { return len(got.all()) > 0 })
	r.stop()
	c, _ := k.listen(b, s)
	c.await(k, es)
}

// place names a partition.
type place struct {
	topic     string
	partition int32
}

func at(p bus.Position) place { return place{p.Topic, p.Partition} }

// An inbox stores where each range ends as its position, and takes a range that doesn't begin there for a fault. So
// ranges have to follow one another without a gap, to the very end of the log, and hold their events.
func testRanges(k *kit) {
	b, topics := k.open(), []string{k.fresh("topic"), k.fresh("topic")}
	var want []bus.Event
	for _, topic := range topics {
		es := events(10, keys(50)...)
		k.publish(b, topic, es...)
		want = append(want, es...)
	}
	c, _ := k.listen(b, bus.Subscription{Group: k.fresh("group"), Topics: topics, MaxBatch: 70})
	more := events(10, keys(50)...)
	k.publish(b, topics[0], more...)
	c.await(k, append(want, more...))
	if k.h.Repeats { // copies may still come
		k.eventually("the logs are read to their end", func() bool { return c.readTo(k.partitions(b, topics...)) })
	}
	next := make(map[place]int64)
	for _, d := range c.all() {
		k.checkRanges(d, next)
	}
	for _, p := range k.partitions(b, topics...) {
		if next[at(p.Position)] != p.Next {
			k.Errorf("%s/%d was read to %d, want %d", p.Topic, p.Partition, next[at(p.Position)], p.Next)
		}
	}
}

// readTo reports whether the ranges come to the end of each partition.
func (c *collector) readTo(parts []bus.Partition) bool {
	next := make(map[place]int64)
	for _, d := range c.all() {
		for _, r := range d.Ranges {
			next[at(r.Position)] = max(next[at(r.Position)], r.Next)
		}
	}
	return !slices.ContainsFunc(parts, func(p bus.Partition) bool { return next[at(p.Position)] < p.Next })
}

// checkRanges checks a delivery by itself and against next, where the last one ended, and moves next on.
func (k *kit) checkRanges(d bus.Delivery, next map[place]int64) {
	mine := make(map[place]bus.Range)
	for i, r := range d.Ranges {
		if i > 0 && !before(d.Ranges[i-1], r) {
			k.Errorf("ranges are out of order: %+v", d.Ranges)
		}
		end := next[at(r.Position)]
		repeats := k.h.Repeats && r.Offset < end
		if r.Offset != end && !repeats || r.Next < r.Offset {
			k.Errorf("range %+v follows one to %d", r, end)
		}
		if r.Log == "" {
			k.Errorf("range %+v names no log", r)
		}
		next[at(r.Position)], mine[at(r.Position)] = max(end, r.Next), r
	}
	type keyed struct {
		place
		key string
	}
	last := make(map[keyed]int64) // only events of a key are in order
	for _, e := range d.Events {
		r, ok := mine[at(e.At)]
		if !ok || e.At.Log != r.Log || e.At.Offset < r.Offset || e.At.Offset >= r.Next {
			k.Errorf("event at %+v is in none of the ranges %+v", e.At, d.Ranges)
		}
		of := keyed{at(e.At), e.Key}
		if before, ok := last[of]; ok && e.At.Offset <= before {
			k.Errorf("event at %+v comes after one of its key at offset %d", e.At, before)
		}
		last[of] = e.At.Offset
	}
}

func before(a, b bus.Range) bool {
	return a.Topic < b.Topic || a.Topic == b.Topic && a.Partition < b.Partition
}

func (k *kit) partitions(b bus.Bus, topics ...string) []bus.Partition {
	k.Helper()
	parts, err := b.(bus.Inspector).Partitions(k.ctx, topics...)
	if err != nil {
		k.Fatalf("Partitions: %v", err)
	}
	return parts
}

// Lag is counted from these. Asking makes no topic, and each topic's log has an id of its own.
func testPartitions(k *kit) {
	b, topics := k.open(), []string{k.fresh("topic-b"), k.fresh("topic-a")}
	next := make(map[place]int64)
	logs := make(map[string]string)
	for _, topic := range topics {
		es := events(3, keys(20)...)
		k.publish(b, topic, es...)
		for _, e := range es {
			next[at(e.At)] = max(next[at(e.At)], e.At.Offset+1)
			logs[topic] = e.At.Log
		}
	}
	parts := k.partitions(b, topics[0], k.fresh("nowhere"), topics[1])
	if !slices.IsSortedFunc(parts, func(a, b bus.Partition) int {
		if before(bus.Range{Position: a.Position}, bus.Range{Position: b.Position}) {
			return -1
		}
		return 1
	}) {
		k.Errorf("partitions are out of order: %+v", parts)
	}
	for _, p := range parts {
		if p.First != 0 || p.Offset != p.First || p.Next != next[at(p.Position)] || p.Log != logs[p.Topic] {
			k.Errorf("partition %+v, want 0 to %d of log %s", p, next[at(p.Position)], logs[p.Topic])
		}
		delete(next, at(p.Position))
	}
	if len(next) > 0 || len(logs) != 2 || logs[topics[0]] == logs[topics[1]] {
		k.Errorf("partitions %+v are missing; logs are %v", next, logs)
	}
}

// reader is a reader's own record of positions, as an inbox keeps one.
type reader struct {
	collector
	mu    sync.Mutex
	next  map[place]int64
	asked [][]bus.Partition
}

func newReader() *reader { return &reader{next: make(map[place]int64)} }

// resume answers with what the reader has, or with where a new group starts.
func (r *reader) resume(_ context.Context, parts []bus.Partition) ([]int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, slices.Clone(parts))
	answer := make([]int64, len(parts))
	for i, p := range parts {
		next, known := r.next[at(p.Position)]
		if !known {
			next = p.Offset
		}
		answer[i] = next
	}
	return answer, nil
}

func (r *reader) questions() [][]bus.Partition {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

// The reader's own positions are behind the broker's back: at the start of some partitions, amid others, at the end of
// the rest. That is a database that was restored. The bus has to read from there, whatever it thinks of the group.
func testResume(k *kit) {
	b, topic, r := k.open(), k.fresh("topic"), newReader()
	es := events(6, keys(50)...)
	k.publish(b, topic, es...)
	all := k.partitions(b, topic)
	var want []bus.Event
	for i, p := range all {
		r.next[at(p.Position)] = p.Next * int64(i%3) / 2 // some from the start, some from amid, some from the end
	}
	for _, e := range es {
		if e.At.Offset >= r.next[at(e.At)] {
			want = append(want, e)
		}
	}
	s := bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}, Start: bus.Latest(), Resume: r.resume}
	k.subscribe(b, s, r.handle).awaitReady(true)
	r.await(k, want)
	if diff := cmp.Diff(atEnd(all), r.questions()[0]); diff != "" {
		k.Errorf("want to be asked at first about all partitions (-), was asked (+):\n%s", diff)
	}
	next := make(map[place]int64)
	for _, p := range all {
		next[at(p.Position)] = r.next[at(p.Position)]
	}
	for _, d := range r.all() {
		k.checkRanges(d, next)
	}
}

// atEnd is parts as a new group sees them that starts at the latest event.
func atEnd(parts []bus.Partition) []bus.Partition {
	parts = slices.Clone(parts)
	for i := range parts {
		parts[i].Offset = parts[i].Next
	}
	return parts
}

// A reader without a position stores the one that it is told: by then it has to be an offset, for each start.
func testResumeStart(k *kit) {
	b, topic := k.open(), k.fresh("topic")
	k.publish(b, topic, events(3, keys(50)...)...)
	all := k.partitions(b, topic)
	since := time.Now().Add(20 * time.Millisecond)
	k.eventually("the clock has moved on", func() bool { return time.Now().After(since) })
	k.publish(b, topic, events(3, keys(50)...)...)
	for _, tt := range []struct {
		start bus.Start
		want  func(before, now bus.Partition) int64
	}{
		{bus.Earliest(), func(_, now bus.Partition) int64 { return now.First }},
		{bus.Latest(), func(_, now bus.Partition) int64 { return now.Next }},
		{bus.Since(since), func(before, _ bus.Partition) int64 { return before.Next }},
	} {
		r := newReader()
		s := bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}, Start: tt.start, Resume: r.resume}
		run := k.subscribe(b, s, r.handle)
		run.awaitReady(true)
		for i, p := range r.questions()[0] {
			if want := tt.want(all[i], p); p.Offset != want {
				k.Errorf("%v: %s/%d starts at %d, want %d", tt.start, p.Topic, p.Partition, p.Offset, want)
			}
		}
		run.stop()
	}
}

// A database that is busy answers later; an answer that can't be right is no answer.
func testResumeAgain(k *kit) {
	b, topic, r := k.open(), k.fresh("topic"), newReader()
	es := events(3, keys(20)...)
	k.publish(b, topic, es...)
	calls := 0
	s := bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}}
	s.Resume = func(ctx context.Context, parts []bus.Partition) ([]int64, error) {
		answer, err := r.resume(ctx, parts)
		switch calls++; calls {
		case 1:
			return nil, errors.New("the database is busy")
		case 2:
			answer[0] = parts[0].Next + 1 // behind the log's end: a fault
		}
		return answer, err
	}
	k.subscribe(b, s, r.handle).awaitReady(true)
	r.await(k, es)
}

// The reader finds that its position in one partition was set back. The bus has to ask for that one again, read on from
// what it is told, and leave the others alone.
func testReread(k *kit) {
	b, topic, r := k.open(), k.fresh("topic"), newReader()
	es := events(10, keys(50)...)
	k.publish(b, topic, es...)
	var moved bus.Position // the partition that the reader has rewound; under r.mu, like before
	var before int         // deliveries that were done by then
	handler := func(ctx context.Context, d bus.Delivery) error {
		r.mu.Lock()
		i := slices.IndexFunc(d.Ranges, func(r bus.Range) bool { return r.Offset > 0 })
		rewind := moved.Topic == "" && i >= 0
		if rewind {
			moved = d.Ranges[i].Position
			r.next[at(moved)] = 0
			before = len(r.all())
		}
		r.mu.Unlock()
		if rewind {
			return bus.Reread(moved)
		}
		return r.handle(ctx, d)
	}
	s := bus.Subscription{Group: k.fresh("group"), Topics: []string{topic}, MaxBatch: 20, Resume: r.resume}
	k.subscribe(b, s, handler).awaitReady(true)
	k.eventually("the partition is read from its start again", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return moved.Topic != "" && slices.ContainsFunc(r.all()[before:], func(d bus.Delivery) bool {
			return slices.ContainsFunc(d.Ranges, func(rg bus.Range) bool { return at(rg.Position) == at(moved) && rg.Offset == 0 })
		})
	})
	last := r.questions()[len(r.questions())-1]
	named := slices.ContainsFunc(last, func(p bus.Partition) bool { return at(p.Position) == at(moved) })
	if alone := len(last) == 1 || k.h.Repeats; !named || !alone {
		k.Errorf("Resume was asked about %+v, want only %+v", last, moved)
	}
}
