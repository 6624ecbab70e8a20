package times_test

import (
	"math"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/services/internal/times"
)

func TestATimeComesBackAsItWas(t *testing.T) {
	zone := time.FixedZone("", 3600)
	for _, at := range []time.Time{
		{},
		time.Unix(0, 0),
		time.Date(2026, 3, 1, 12, 0, 0, 123456789, zone),
		time.Date(1901, 1, 1, 0, 0, 0, 1, time.UTC),
		time.Unix(0, math.MinInt64),
		time.Unix(0, math.MaxInt64),
	} {
		if got := times.FromNanos(times.ToNanos(at)); !got.Equal(at) || got.Location() != time.UTC {
			t.Errorf("%v comes back from a column as %v", at, got)
		}
		if got := times.FromProto(times.ToProto(at)); !got.Equal(at) || got.Location() != time.UTC {
			t.Errorf("%v comes back from a message as %v", at, got)
		}
	}
}

func TestTheZeroTimeIsNotKnown(t *testing.T) {
	if n := times.ToNanos(time.Time{}); n.Valid {
		t.Errorf("in a column it is %d, want NULL", n.Int64)
	}
	if p := times.ToProto(time.Time{}); p != nil {
		t.Errorf("in a message it is %v, want none", p)
	}
}

func TestATimeThatNoColumnHoldsBecomesTheNearestThatFits(t *testing.T) {
	for year, want := range map[int]int64{1: math.MinInt64, 1600: math.MinInt64, 2300: math.MaxInt64, 9999: math.MaxInt64} {
		if n := times.ToNanos(time.Date(year, 2, 3, 0, 0, 0, 0, time.UTC)); !n.Valid || n.Int64 != want {
			t.Errorf("year %d becomes %+v, want %d", year, n, want)
		}
	}
}
