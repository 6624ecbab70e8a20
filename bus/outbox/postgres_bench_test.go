package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb/pgtest"
)

// nowhere is a durable bus that takes everything at once, so that the database alone is measured.
type nowhere struct{ bus.Bus }

func (nowhere) Guarantees() bus.Guarantees                          { return bus.All() }
func (nowhere) Publish(context.Context, string, ...bus.Event) error { return nil }

// BenchmarkRelayOnPostgres reads and marks a backlog, and does the same work on pgx by hand, a batch of 5,000 at a
// time, marked by unnest. "of-raw" is the ratio of the rates.
func BenchmarkRelayOnPostgres(b *testing.B) {
	const backlog = 40_000
	var ours, raw time.Duration
	for range b.N {
		took := func(relay func(o *Outbox, file string)) time.Duration {
			file := b.TempDir() + "owner"
			o, err := New(b.Context(), pgtest.Open(b, file), WithLogger(slog.New(slog.DiscardHandler)))
			if err != nil {
				b.Fatal(err)
			}
			for from := 0; from < backlog; from += 1000 {
				var events []bus.Event
				for i := range 1000 {
					events = append(events, event(fmt.Sprint("key-", from+i), 1))
				}
				add(b, o, events...)
			}
			start := time.Now()
			relay(o, file)
			took := time.Since(start)
			if n := count(b, o.db, `SELECT count(*) FROM tidings_outbox_unsent`); n != 0 {
				b.Fatalf("%d are left", n)
			}
			return took
		}
		ours += took(func(o *Outbox, _ string) {
			stop := relaying(b, o, nowhere{})
			eventually(b, "the backlog's end", func() bool {
				return count(b, o.db, `SELECT (EXISTS (SELECT 1 FROM tidings_outbox_unsent))::int`) == 0
			})
			stop()
		})
		raw += took(func(_ *Outbox, file string) { rawRelayOnPostgres(b, file) })
	}
	b.ReportMetric(float64(b.N*backlog)/ours.Seconds(), "events/s")
	b.ReportMetric(float64(b.N*backlog)/raw.Seconds(), "raw-events/s")
	b.ReportMetric(raw.Seconds()/ours.Seconds(), "of-raw")
}

// rawRelayOnPostgres is what one would write by hand, one batch after another.
func rawRelayOnPostgres(b *testing.B, file string) {
	ctx := b.Context()
	conn, err := pgx.Connect(ctx, pgtest.Server(b))
	if err == nil {
		_, err = conn.Exec(ctx, `SET search_path = `+pgtest.Schema(file))
	}
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(ctx)
	for {
		rows, _ := conn.Query(ctx, readQuery, 0, int64(1)<<60, 5000)
		var positions []int64
		var position int64
		var topic string
		var envelope []byte
		_, err := pgx.ForEachRow(rows, []any{&position, &topic, &envelope}, func() error {
			positions = append(positions, position)
			_, err := bus.ParseEnvelope(envelope)
			return err
		})
		if err == nil && len(positions) == 0 {
			return
		}
		if err == nil {
			err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, `INSERT INTO tidings_outbox_sent (position, sent, log, part, off)
					SELECT p, $2, 'log', 0, 0 FROM unnest($1::bigint[]) AS p`, positions, time.Now().UnixMicro())
				if err == nil {
					_, err = tx.Exec(ctx, `DELETE FROM tidings_outbox_unsent WHERE position BETWEEN $1 AND $2`, positions[0], position)
				}
				return err
			})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
