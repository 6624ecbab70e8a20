package lab

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/tidings/internal/control"
)

// standing is a platform whose owner has sent 5 events, and a reader that has nothing of them.
func standing(keepsLog bool) (control.Report, lifecycle.Status) {
	given := lifecycle.Stream{Topic: "t", Source: "/users", Log: "l", Seq: 5}
	users := lifecycle.Status{
		Service: owner, State: lifecycle.Serving, Bus: true, Keys: 5, Versions: 5, KeepsLog: keepsLog, Outbox: &lifecycle.Outbox{},
	}
	directory := lifecycle.Status{Service: reader, State: lifecycle.Serving, Bus: true, KeepsLog: keepsLog}
	if !keepsLog {
		users.Streams, directory.Lag = []lifecycle.Stream{given}, lifecycle.UnknownLag
	}
	return control.Report{Bus: control.Bus{KeepsLog: keepsLog}, Services: []lifecycle.Status{users}}, directory
}

const soon = 50 * time.Millisecond

// resting asks a stage of that kind whether a service that changes so, look by look, comes to rest.
func resting(t *testing.T, id string, patience time.Duration, change func(looks int, s *lifecycle.Status)) (lifecycle.Status, int, error) {
	t.Helper()
	s := &stage{kind: only(t, id)[0], cfg: Config{Patience: patience}.withDefaults(), words: &lastWords{}}
	slog.New(s.words).With("service", "x").Warn("waiting", "n", 1, "err", errors.New("no route"))
	looks := 0
	_, status, err := s.rest(t.Context(), func(context.Context) (control.Report, lifecycle.Status) {
		r, status := standing(s.keepsLog)
		looks++
		change(looks, &status)
		return r, status
	})
	return status, looks, err
}

func TestOnALogAServiceRestsAtItsEndWithTheOwnersKeys(t *testing.T) {
	_, looks, err := resting(t, "kafka", soon, func(looks int, s *lifecycle.Status) { s.Lag, s.Keys = max(0, int64(3-looks)), int64(looks) })
	if err != nil || looks != 5 {
		t.Errorf("after %d looks: %v; want 5", looks, err)
	}
}

func TestALogThatHasLostSomethingIsAnOutcome(t *testing.T) {
	status, looks, err := resting(t, "kafka", soon, func(_ int, s *lifecycle.Status) { s.Keys = 4 })
	if err != nil || status.Keys != 4 || looks < 2 {
		t.Errorf("after %d looks: %+v, %v", looks, status, err)
	}
}

func TestWithoutALogAServiceRestsAtTheOwnersNumber(t *testing.T) {
	_, looks, err := resting(t, "redis", soon, func(looks int, s *lifecycle.Status) {
		if looks > 1 {
			s.Streams = []lifecycle.Stream{{Topic: "t", Source: "/users", Log: "l", First: 1, Seq: uint64(looks)}}
			s.Seq = uint64(looks)
		}
	})
	if err != nil || looks != 5 {
		t.Errorf("after %d looks: %v; want 5", looks, err)
	}
}

func TestAServiceThatNeverRestsIsTold(t *testing.T) {
	for _, c := range []struct {
		id     string
		change func(looks int, s *lifecycle.Status)
		want   string
	}{
		{"kafka", func(_ int, s *lifecycle.Status) { s.Lag = 3 }, "directory: nothing has moved for 50ms, and still something is on its way to it (users: 0, events behind: 3): waiting: no route"},
		{"kafka", func(_ int, s *lifecycle.Status) { s.Bus, s.Error = false, "odd" }, "(users: 0, events behind: 0, no bus): odd"},
		{"kafka", func(_ int, s *lifecycle.Status) { s.Bus, s.Lag = false, lifecycle.UnknownLag }, "(users: 0, how far it is behind is not known, no bus): waiting"},
		{"redis", func(_ int, s *lifecycle.Status) { s.Seq, s.Keys = 4321, 1234 }, "(users: 1,234, highest number: 4,321): waiting: no route"},
		{"redis", func(_ int, s *lifecycle.Status) { s.State, s.Error = lifecycle.Failed, "disk full" }, "directory is failed: disk full"},
	} {
		if _, _, err := resting(t, c.id, soon, c.change); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v\nwant %s", err, c.want)
		}
	}
}

// Patience is for what stands still: what moves, be it at every third look, is waited for longer.
func TestWhatMovesIsWaitedForLongerThanPatience(t *testing.T) {
	const patience, last = 500 * time.Millisecond, 90
	began := time.Now()
	_, looks, err := resting(t, "kafka", patience, func(looks int, s *lifecycle.Status) { s.Lag, s.Keys = int64((last-looks)/3), 5 })
	if err != nil || looks < last-3 || time.Since(began) < patience {
		t.Errorf("after %d looks: %v; want %d", looks, err, last-2)
	}
}
