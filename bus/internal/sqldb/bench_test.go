package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkInTx is transactions of one insert with full synchronisation, by many writers at once.
func BenchmarkInTx(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { benchmarkInTx(b, openDB) })
	b.Run("postgres", func(b *testing.B) { benchmarkInTx(b, openPostgres) })
}

func benchmarkInTx(b *testing.B, openDB func(testing.TB) *sql.DB) {
	for _, writers := range []int{1, 8, 64, 256} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			db := openDB(b)
			w := newWriter(b, db)
			defer w.Hold()()
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range writers {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						err := w.InTx(context.Background(), func(ctx context.Context, tx Tx) error {
							_, err := tx.ExecContext(ctx, `INSERT INTO item (id, name) VALUES ($1, $2)`, i, fmt.Sprintf("name %09d", i))
							return err
						})
						if err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
		})
	}
}
