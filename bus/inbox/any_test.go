package inbox

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

func TestAnyTakesWhatNoOtherRouteTakes(t *testing.T) {
	db := newDB(t)
	var others []string
	in, err := New(Config{Group: "history", Topics: []string{topic}, DB: db, Gaps: Every},
		On(func(ctx context.Context, tx Tx, e bus.Event, m *eventsv1.UserCreated) error {
			return insert(ctx, tx, &e, "On")
		}),
		Any(func(ctx context.Context, tx Tx, batch []bus.Event) error {
			for i := range batch {
				others = append(others, batch[i].Type)
				if err := insert(ctx, tx, &batch[i], "Any"); err != nil {
					return err
				}
			}
			return nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	strange := updated(t, "a", 2, "A")
	strange.Type = "somebody.elses.v9.Type"
	rec := bustest.NewRecorder()
	if err := rec.Publish(t.Context(), topic, created(t, "a", 1, "A"), strange, deleted(t, "a", 3)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	ended := make(chan error, 1)
	run, stop := context.WithCancel(ctx)
	go func() { ended <- in.Run(run, rec) }()
	awaited := in.Await(ctx, source, "a", 3)
	stop()
	if err := <-ended; err != nil || awaited != nil {
		t.Fatal(err, awaited)
	}
	want := []string{"somebody.elses.v9.Type", string((*eventsv1.UserDeleted)(nil).ProtoReflect().Descriptor().FullName())}
	if diff := cmp.Diff(want, slices.Compact(others)); diff != "" {
		t.Errorf("types that Any took: %s", diff)
	}
	s, err := in.Status(t.Context())
	if err != nil || s.Ignored != 0 || s.Versions != 3 {
		t.Errorf("status %+v, %v; want version 3 and nothing ignored", s, err)
	}
}

func TestTwoRoutesOfAnyAreRefused(t *testing.T) {
	nothing := func(context.Context, Tx, []bus.Event) error { return nil }
	_, err := New(Config{Group: "g", Topics: []string{topic}, DB: newDB(t)}, Any(nothing), Any(nothing), Any(nil))
	if err == nil || !strings.Contains(err.Error(), "two routes made by Any") || !strings.Contains(err.Error(), "Any: the handler is nil") {
		t.Errorf("error %v, want both faults", err)
	}
}

func TestHolesAreThoseOfTheKey(t *testing.T) {
	db := newDB(t)
	in, err := New(Config{Group: "history", Topics: []string{topic}, DB: db, Gaps: Every}, Any(func(context.Context, Tx, []bus.Event) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, db, `INSERT INTO tidings_inbox_source (id, grp, source) VALUES (7, 'history', '/users'), (8, 'other', '/users')`)
	mustExec(t, db, `INSERT INTO tidings_inbox_hole VALUES (7, 'a', 9, 9), (7, 'a', 4, 6), (7, 'b', 1, 2), (8, 'a', 1, 3)`)
	holes, err := in.Holes(t.Context(), "/users", "a")
	if diff := cmp.Diff([]Hole{{4, 6}, {9, 9}}, holes); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}
