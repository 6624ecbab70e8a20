package service

import (
	"context"
	"log/slog"
	"strings"
	"testing"
)

// Twins are two events of one version, and no sign that the database was lost which this process began with.
func TestALogIsComparedByTheEventsThatEachVersionHas(t *testing.T) {
	for _, c := range []struct {
		events Events
		held   int64
		want   string
	}{
		{"", 3, ""}, {"v1", 3, ""}, {"v2", 3, ""}, {"v2,v1", 6, ""}, {"v2,v1", 5, ""},
		{"v1", 4, "holds 1 events"}, {"v2,v1", 8, "holds 2 events"},
	} {
		w := &watch{log: slog.New(slog.DiscardHandler), twins: c.events.count(), empty: true}
		w.versions = func(context.Context) (uint64, error) { return 3, nil }
		w.compare(t.Context(), c.held)
		if note := w.note(); (note == "") != (c.want == "") || !strings.Contains(note, c.want) {
			t.Errorf("--events %q, 3 versions, %d events: the note is %q, want %q", c.events, c.held, note, c.want)
		}
	}
}
