package inbox

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// step does once what Run's timer does: it tries what is due.
func step(t testing.TB, in *Inbox) {
	t.Helper()
	r := &retrier{Inbox: in, resting: make(map[int64]time.Time)}
	if _, err := r.step(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// retry lets the time pass until nothing is to be tried any more, and tries what is due.
func retry(t testing.TB, in *Inbox, c *clock) {
	t.Helper()
	for range 1000 {
		next, err := in.nextRetry(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if next.IsZero() {
			return
		}
		if next.After(c.now) {
			c.now = next
		}
		step(t, in)
	}
	t.Fatal("what was parked is tried for ever")
}

// wantParked compares what is parked: "state key:version attempts retried error", in order of the rows.
func wantParked(t testing.TB, in *Inbox, want ...string) {
	t.Helper()
	var got []string
	err := query(t.Context(), in.cfg.DB, func(row scanner) error {
		var state, key, why string
		var version, attempts, next, at int64
		err := row.Scan(&state, &key, &version, &attempts, &next, &at, &why)
		line := fmt.Sprintf("%s %s:%d", state, key, version)
		if attempts > 0 {
			line += fmt.Sprint(" ", attempts)
		}
		if next > 0 {
			line += " retried"
		}
		if why != "" {
			line += " " + why
		}
		got = append(got, line)
		return err
	}, `SELECT state, key, version, attempts, next, time, error FROM tidings_inbox_parked ORDER BY id`)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Fatalf("parked (-want +got), %v:\n%s", err, diff)
	}
}
