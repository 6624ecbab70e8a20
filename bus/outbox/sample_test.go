package outbox

import (
	"fmt"
	"testing"

	"github.com/tidings-dev/tidings/bus"
)

// offered is a batch with n versions of each key, version by version.
func offered(keys, n int) *batch {
	b := &batch{}
	for v := 1; v <= n; v++ {
		for k := range keys {
			b.positions = append(b.positions, int64(len(b.positions)+1))
			b.topics = append(b.topics, topic)
			b.events = append(b.events, bus.Event{Key: fmt.Sprint(k), Version: uint64(v)})
		}
	}
	return b
}

func take(s *sample, b *batch, forced string) *batch {
	for i := range b.events {
		s.add(eventKey{b.topics[i], b.events[i].Key}, b, i, b.events[i].Key == forced)
	}
	return s.batch()
}

func TestSampleHasAllRowsOfItsKeysInOrder(t *testing.T) {
	for _, c := range []struct{ keys, size, want int }{{100, 5, 6}, {6, 5, 6}, {3, 5, 3}, {100, 0, 1}} {
		s := newSample(c.size)
		got := take(s, offered(c.keys, 4), "1")
		versions := make(map[string]uint64)
		last := int64(0)
		for i, e := range got.events {
			if e.Version != versions[e.Key]+1 || got.positions[i] <= last {
				t.Errorf("%d of %d: row %d is version %d of %s, after %d", c.size, c.keys, i, e.Version, e.Key, versions[e.Key])
			}
			versions[e.Key], last = e.Version, got.positions[i]
		}
		if len(versions) != c.want || len(got.events) != 4*c.want || versions["1"] != 4 {
			t.Errorf("%d of %d: %d rows of %d keys, want %d keys", c.size, c.keys, len(got.events), len(versions), c.want)
		}
		if s.complete() != (c.keys-1 <= c.size) {
			t.Errorf("%d of %d: complete %v", c.size, c.keys, s.complete())
		}
	}
}

func TestSampleIsFair(t *testing.T) {
	const keys, size, rounds = 50, 5, 4000
	counts := make(map[string]int)
	for range rounds {
		for _, e := range take(newSample(size), offered(keys, 1), "").events {
			counts[e.Key]++
		}
	}
	for k := range keys {
		// 400 are expected, with a deviation of 19.
		if n := counts[fmt.Sprint(k)]; n < 300 || n > 500 {
			t.Errorf("key %d was taken %d times, want about %d", k, n, rounds*size/keys)
		}
	}
}
