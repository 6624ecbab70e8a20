package inbox

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/sqldb/pgtest"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

// BenchmarkApplyOnPostgres takes deliveries of 1,000 events in, without a bus, of new users and of users that are
// known, and does the same work on pgx by hand: offsets, marks and rows in one transaction, by unnest, in one round trip
// each. "of-raw" is the ratio of the rates.
func BenchmarkApplyOnPostgres(b *testing.B) {
	b.Run("new", func(b *testing.B) { applyOnPostgres(b, false) })
	b.Run("known", func(b *testing.B) { applyOnPostgres(b, true) })
}

func applyOnPostgres(b *testing.B, known bool) {
	const batch, batches = 1000, 20
	var ours, raw []time.Duration
	for range b.N {
		first, second := people(b, batch*batches), []bus.Event(nil)
		for _, e := range first {
			e.Version++
			second = append(second, e)
		}
		turn := func(apply func([]bus.Event, int64)) time.Duration {
			var start time.Time
			for i, events := range [][]bus.Event{first, second}[:1+b2i(known)] {
				start = time.Now()
				for n := range batches {
					apply(events[n*batch:(n+1)*batch], int64((i*batches+n)*batch))
				}
			}
			return time.Since(start)
		}
		ours = append(ours, turn(inboxOnPostgres(b)))
		raw = append(raw, turn(rawOnPostgres(b)))
	}
	slices.Sort(ours)
	slices.Sort(raw)
	o, r := ours[len(ours)/2].Seconds(), raw[len(raw)/2].Seconds()
	b.ReportMetric(batch*batches/o, "events/s")
	b.ReportMetric(batch*batches/r, "raw-events/s")
	b.ReportMetric(r/o, "of-raw")
}

const peopleOnPostgres = `CREATE TABLE people (id TEXT COLLATE "C" NOT NULL PRIMARY KEY, email TEXT NOT NULL, name TEXT NOT NULL, version BIGINT NOT NULL)`

// decoded are the columns of a batch.
func decoded(batch []bus.Event) (keys, emails, names []string, versions []int64, err error) {
	for _, e := range batch {
		m, err := bus.Decode[*eventsv1.UserCreated](e)
		if err != nil {
			return nil, nil, nil, nil, err
		}
		keys, emails = append(keys, e.Key), append(emails, m.GetUser().GetEmail())
		names, versions = append(names, m.GetUser().GetName()), append(versions, int64(e.Version))
	}
	return keys, emails, names, versions, nil
}

const unnestPeople = `INSERT INTO people (id, email, name, version) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[])
	ON CONFLICT (id) DO UPDATE SET email = excluded.email, name = excluded.name, version = excluded.version WHERE people.version < excluded.version`

func inboxOnPostgres(b *testing.B) func([]bus.Event, int64) {
	db := benchSchema(b, "inbox")
	in := mustNew(b, config(b, db), Batch(func(ctx context.Context, tx Tx, batch []bus.Event) error {
		keys, emails, names, versions, err := decoded(batch)
		if err == nil {
			_, err = tx.ExecContext(ctx, unnestPeople, keys, emails, names, versions)
		}
		return err
	}, &eventsv1.UserCreated{}))
	if _, err := in.resume(b.Context(), []bus.Partition{{Position: bus.Position{Topic: topic, Log: "l"}, Next: 1 << 40}}); err != nil {
		b.Fatal(err)
	}
	return func(events []bus.Event, at int64) {
		for i := range events {
			events[i].At = bus.Position{Topic: topic, Log: "l", Offset: at + int64(i)}
		}
		d := bus.Delivery{Events: events, Ranges: []bus.Range{{Position: bus.Position{Topic: topic, Log: "l", Offset: at}, Next: at + int64(len(events))}}}
		if err := in.handle(b.Context(), d); err != nil {
			b.Fatal(err)
		}
	}
}

func benchSchema(b *testing.B, name string) *sql.DB {
	b.Helper()
	db := pgtest.Open(b, b.TempDir()+name)
	if _, err := db.Exec(peopleOnPostgres); err != nil {
		b.Fatal(err)
	}
	return db
}

// rawOnPostgres is what one would write by hand.
func rawOnPostgres(b *testing.B) func([]bus.Event, int64) {
	ctx, path := context.Background(), b.TempDir()+"raw"
	db := pgtest.Open(b, path)
	for _, text := range []string{peopleOnPostgres, `CREATE TABLE mark (key TEXT COLLATE "C" NOT NULL PRIMARY KEY, version BIGINT NOT NULL)`,
		`CREATE TABLE position (part INTEGER NOT NULL PRIMARY KEY, next BIGINT NOT NULL)`, `INSERT INTO position VALUES (0, 0)`} {
		if _, err := db.Exec(text); err != nil {
			b.Fatal(err)
		}
	}
	conn, err := pgx.Connect(ctx, pgtest.Server(b))
	if err == nil {
		_, err = conn.Exec(ctx, `SET search_path = `+pgtest.Schema(path))
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close(ctx) })
	return func(events []bus.Event, at int64) {
		sorted := slices.Clone(events)
		slices.SortFunc(sorted, func(x, y bus.Event) int { return strings.Compare(x.Key, y.Key) })
		keys, emails, names, versions, err := decoded(sorted)
		if err != nil {
			b.Fatal(err)
		}
		err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `UPDATE position SET next = $1 WHERE part = 0 AND next = $2`, at+int64(len(events)), at); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `INSERT INTO mark SELECT * FROM unnest($1::text[], $2::bigint[])
				ON CONFLICT (key) DO UPDATE SET version = excluded.version WHERE mark.version < excluded.version`, keys, versions); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, unnestPeople, keys, emails, names, versions)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
