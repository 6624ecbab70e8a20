package announce

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// ListenTime is how long [List] listens on a bus without a log, unless told otherwise: two intervals and a bit.
const ListenTime = 5 * time.Second

// List returns the last word of each who has announced something about events of the topic named events, in order of
// role, name and group. None are left out for being silent: see [Announcement.Silent]. Of a group in which several releases
// have spoken lately, as while replicas are upgraded, each release's last word is there, that of the group first.
//
// On a bus that keeps a log it reads the topic for announcements from its start to where it ends now, as a consumer group
// of a random name, "announcements.…", that the broker forgets by itself. Where there is no such topic nothing was
// announced. On a bus without a log it listens for a while, once the subscription stands: listen, or [ListenTime] if that
// is 0. What is written there by others, and is no announcement, is passed over. It waits for a bus that is away, until
// ctx ends: give it a deadline.
func List(ctx context.Context, b bus.Bus, events string, listen time.Duration) ([]Announcement, error) {
	l := &listener{events: events, last: make(map[voice]Announcement), named: make(map[string]map[string]time.Time),
		released: make(map[string]map[string]Announcement)}
	var err error
	if bus.KeepsLog(b) {
		err = l.read(ctx, b)
	} else {
		err = l.listen(ctx, b, cmp.Or(listen, ListenTime))
	}
	if err != nil {
		return nil, fmt.Errorf("announce: list: %w", err)
	}
	return l.all(), nil
}

// listener gathers announcements. It is safe for concurrent use.
type listener struct {
	events string

	mu    sync.Mutex
	last  map[voice]Announcement
	named map[string]map[string]time.Time // by key and type: when it was named last
	// released is the last word by key and release.
	released map[string]map[string]Announcement
}

// voice is an announcement's key, and where it stood. Within a partition what comes later is newer.
type voice struct {
	key       string
	partition int32
}

// take keeps the newest of each.
func (l *listener) take(events []bus.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		if a, ok := parse(e, l.events); ok {
			l.last[voice{a.key(), e.At.Partition}] = a
			l.release(&a)
			l.name(&a)
		}
	}
}

// release notes the last word of a's release.
func (l *listener) release(a *Announcement) {
	of := l.released[a.key()]
	if of == nil {
		of = make(map[string]Announcement)
		l.released[a.key()] = of
	}
	if !a.Time.Before(of[a.Release].Time) {
		of[a.Release] = *a
	}
}

// name notes when each type was named.
func (l *listener) name(a *Announcement) {
	named := l.named[a.key()]
	if named == nil {
		named = make(map[string]time.Time)
		l.named[a.key()] = named
	}
	for _, typ := range a.Types {
		if a.Time.After(named[typ]) {
			named[typ] = a.Time
		}
	}
}

// formerly is what of named is in an announcement's types no more; nil for nothing.
func formerly(a *Announcement, named map[string]time.Time) map[string]time.Time {
	was := maps.Clone(named)
	maps.DeleteFunc(was, func(typ string, _ time.Time) bool { return slices.Contains(a.Types, typ) })
	if len(was) == 0 {
		return nil
	}
	return was
}

// all returns what was gathered, in order: of each key the last word, and then those of other releases that are not silent,
// for they may still run beside it. A key stands in two partitions once there are more of them than there were; which is
// the newer word the clocks of who spoke have to tell then.
func (l *listener) all() []Announcement {
	l.mu.Lock()
	defer l.mu.Unlock()
	newest, now := make(map[string]Announcement), time.Now()
	for v, a := range l.last {
		if before, ok := newest[v.key]; !ok || a.Time.After(before.Time) {
			newest[v.key] = a
		}
	}
	var all []Announcement
	for _, key := range slices.Sorted(maps.Keys(newest)) {
		said := []Announcement{newest[key]}
		for _, release := range slices.Sorted(maps.Keys(l.released[key])) {
			if a := l.released[key][release]; release != newest[key].Release && !a.Silent(now) {
				said = append(said, a)
			}
		}
		for _, a := range said {
			a.Formerly = formerly(&a, l.named[key])
			all = append(all, a)
		}
	}
	return all
}

// place is one partition.
type place struct {
	log       string
	partition int32
}

// read reads the topic's log from its start to its end.
func (l *listener) read(ctx context.Context, b bus.Bus) error {
	in, ok := b.(bus.Inspector)
	if !ok {
		return fmt.Errorf("this bus can't say where its log ends: %w", errors.ErrUnsupported)
	}
	parts, err := in.Partitions(ctx, Topic(l.events))
	if err != nil {
		return err
	}
	left := make(map[place]int64) // to read up to
	for _, p := range parts {
		if p.Next > p.First {
			left[place{p.Log, p.Partition}] = p.Next
		}
	}
	if len(left) == 0 {
		return nil
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	sub := bus.Subscription{Group: newGroup(), Topics: []string{Topic(l.events)}, Resume: fromStart}
	err = b.Subscribe(reading, sub, func(_ context.Context, d bus.Delivery) error {
		l.take(d.Events)
		if l.passed(left, d.Ranges) {
			stop()
		}
		return nil
	})
	return endOf(ctx, err)
}

// endOf is the error of a subscription that was to end before ctx.
func endOf(ctx context.Context, err error) error {
	if err == nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// newGroup is nobody else's, for two that list at once must not share the partitions.
func newGroup() string { return "announcements." + strings.ToLower(rand.Text()[:8]) }

// fromStart answers [bus.Subscription] Resume.
func fromStart(_ context.Context, parts []bus.Partition) ([]int64, error) {
	offsets := make([]int64, len(parts))
	for i, p := range parts {
		offsets[i] = p.First
	}
	return offsets, nil
}

// passed takes out of left what ranges reach, and reports whether nothing is left.
func (l *listener) passed(left map[place]int64, ranges []bus.Range) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range ranges {
		at := place{r.Log, r.Partition}
		if end, ok := left[at]; ok && r.Next >= end {
			delete(left, at)
		}
	}
	return len(left) == 0
}

// listen hears what is said for a while.
func (l *listener) listen(ctx context.Context, b bus.Bus, long time.Duration) error {
	listening, stop := context.WithCancel(ctx)
	defer stop()
	var once sync.Once
	sub := bus.Subscription{Group: newGroup(), Topics: []string{Topic(l.events)}, OnReady: func(ready bool) {
		if ready {
			once.Do(func() { time.AfterFunc(long, stop) })
		}
	}}
	err := b.Subscribe(listening, sub, func(_ context.Context, d bus.Delivery) error {
		l.take(d.Events)
		return nil
	})
	return endOf(ctx, err)
}
