package store_test

import (
	"fmt"
	"sync/atomic"
	"testing"
)

// BenchmarkCreate measures new users by 64 callers who share commits, without the door in front.
func BenchmarkCreate(b *testing.B) {
	const callers = 64
	f := open(b, nil)
	var next atomic.Int64
	b.ResetTimer()
	together(callers, func(int) {
		for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
			if _, err := f.Create(b.Context(), named(fmt.Sprintf("user%d@example.org", i), fmt.Sprintf("Somebody of the name of %d", i))); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "users/s")
}
