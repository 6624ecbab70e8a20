package lifecycle_test

import (
	"context"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/inbox"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
)

func TestConsumeRunsTheInboxAndSaysHowItStands(t *testing.T) {
	sp := spec(t)
	sp.Build = func(_ context.Context, p *lifecycle.Parts) error {
		in, err := inbox.New(inbox.Config{
			Group: "people", Topics: []string{"t"}, DB: p.DB.DB, Logger: p.Log, OnReady: p.GRPC.SetBus,
		}, inbox.On(func(ctx context.Context, tx inbox.Tx, e bus.Event, _ *eventsv1.UserCreated) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO people VALUES ($1) ON CONFLICT DO NOTHING`, e.Key)
			return err
		}))
		if err != nil {
			return err
		}
		p.Consume(in)
		p.OnStatus(func(ctx context.Context, s *lifecycle.Status) error {
			return p.DB.QueryRowContext(ctx, `SELECT count(*) FROM people`).Scan(&s.Count)
		})
		return nil
	}
	recorder := bustest.NewRecorder(bustest.WithPartitions(2))
	s := newRunner(sp, recorder)
	l := run(t, s)
	for _, at := range []struct {
		key     string
		version uint64
	}{{"ada", 1}, {"ada", 2}, {"alan", 1}} {
		e, err := bus.NewEvent("/users", at.key, at.version, &eventsv1.UserCreated{})
		if err == nil {
			err = recorder.Publish(t.Context(), "t", e)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	st := statusIs(t, s, func(st lifecycle.Status) bool { return st.Versions == 3 && st.Lag == 0 })
	if st.Count != 2 || st.Keys != 2 || !st.Bus || st.Missing != 0 || st.Parked != 0 || st.Queued != 0 {
		t.Errorf("status %+v", st)
	}
	var next int64
	for i, at := range st.Positions {
		if at.Topic != "t" || at.Log == "" || at.Partition != int32(i) {
			t.Errorf("position %d is %+v", i, at)
		}
		next += at.Next
	}
	if len(st.Positions) != 2 || next != 3 {
		t.Errorf("positions %+v, want two that add up to 3", st.Positions)
	}
	l.end(t)
}
