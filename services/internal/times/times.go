// Package times takes times into columns and messages and back. The zero time stands for one that is not known:
// NULL in a column, unset in a message.
package times

import (
	"database/sql"
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// What nanoseconds since 1970 can hold: the years 1677 to 2262.
var (
	earliest = time.Unix(0, math.MinInt64)
	latest   = time.Unix(0, math.MaxInt64)
)

// ToNanos returns t for a column, in nanoseconds since 1970: NULL for the zero time, the nearest that fits for one
// that doesn't. Those that fit are from September 1677 to April 2262.
func ToNanos(t time.Time) sql.NullInt64 {
	switch {
	case t.IsZero():
		return sql.NullInt64{}
	case t.Before(earliest):
		t = earliest
	case t.After(latest):
		t = latest
	}
	return sql.NullInt64{Int64: t.UnixNano(), Valid: true}
}

// FromNanos is the inverse of ToNanos, in UTC.
func FromNanos(n sql.NullInt64) time.Time {
	if !n.Valid {
		return time.Time{}
	}
	return time.Unix(0, n.Int64).UTC()
}

// ToProto returns t for a message: nil for the zero time.
func ToProto(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// FromProto is the inverse of ToProto, in UTC.
func FromProto(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
