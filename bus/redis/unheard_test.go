package redis

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// heardBy makes n events that were acknowledged.
func heardBy(heard, n int) []bus.Event {
	es := make([]bus.Event, n)
	for i := range es {
		es[i] = bus.Event{Heard: heard, At: bus.Position{Topic: "topic", Offset: -1}}
	}
	return es
}

func TestPublishedToNobodyIsLoggedAtTheChangeAndThenRarely(t *testing.T) {
	var log bytes.Buffer
	now := time.Unix(0, 0)
	u := newUnheard(slog.New(slog.NewTextHandler(&log, nil)))
	u.now = func() time.Time { return now }
	failed := []bus.Event{{}} // not acknowledged, so nobody knows
	beat := heardBy(0, 1)
	beat[0].Type = bus.TypeHeartbeat
	said := heardBy(0, 1)
	said[0].Type = bus.TypeAnnouncement
	heardBeat := heardBy(1, 1)
	heardBeat[0].Type = bus.TypeHeartbeat
	for i, step := range []struct {
		after  time.Duration
		events []bus.Event
		want   string // "" where nothing is to be logged
	}{
		{0, heardBy(1, 3), ""},
		{0, beat, ""},
		{0, said, ""},
		{0, failed, ""},
		{0, heardBy(0, 3), "events=3 unheard=3"},
		{time.Second, heardBy(0, 4), ""},
		{8 * time.Second, heardBy(0, 1), ""},
		{time.Second, heardBy(0, 2), "events=7 unheard=10"},
		{9 * time.Second, beat, ""},
		{time.Second, beat, ""}, // nothing new to tell
		{time.Second, heardBy(0, 1), "events=1 unheard=11"},
		{time.Second, heardBy(0, 5), ""},
		{time.Second, heardBy(2, 1), "somebody listens again\" topic=topic unheard=16"},
		{time.Second, heardBy(2, 1), ""},
		{time.Second, heardBy(0, 1), "events=1 unheard=1"}, // another change
		{time.Second, heardBeat, "unheard=1"},
		{time.Second, append(append(heardBy(0, 2), heardBy(1, 1)...), heardBy(0, 1)...), "events=1 unheard=1"},
	} {
		now = now.Add(step.after)
		log.Reset()
		u.note("topic", step.events)
		if (step.want == "") != (log.Len() == 0) || !strings.Contains(log.String(), step.want) {
			t.Errorf("step %d: logged %q, want %q", i, log.String(), step.want)
		}
	}
	log.Reset()
	u.note("topic", heardBy(0, 6))
	if u.close(); !strings.Contains(log.String(), "events=6 unheard=7") {
		t.Errorf("at the end: %q", log.String())
	}
}

func TestTopicsAreUnheardEachByItself(t *testing.T) {
	var log bytes.Buffer
	u := newUnheard(slog.New(slog.NewTextHandler(&log, nil)))
	u.note("one", heardBy(0, 1))
	u.note("two", heardBy(1, 1))
	u.note("one", heardBy(0, 1))
	if n := strings.Count(log.String(), "\n"); n != 1 {
		t.Errorf("%d lines:\n%s", n, log.String())
	}
}
