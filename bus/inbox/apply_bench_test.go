package inbox

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// peopleTable is what a projection of users looks like.
const peopleTable = `CREATE TABLE people (id TEXT NOT NULL PRIMARY KEY, email TEXT NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID`

// people makes the events of n new users, whose ids are in order of time.
func people(t testing.TB, n int) []bus.Event {
	events := make([]bus.Event, n)
	for i := range events {
		id := uuid.Must(uuid.NewV7()).String()
		u := &eventsv1.User{
			Id: id, Name: fmt.Sprintf("Person Number %d", i), Email: fmt.Sprintf("person.%d@example.com", i), Version: 1,
			CreateTime: timestamppb.New(time.Now()), UpdateTime: timestamppb.New(time.Now()),
		}
		events[i] = event(t, id, 1, &eventsv1.UserCreated{User: u})
	}
	return events
}

// peopleChunks are the sizes of the benchmark's own multi-row statements.
var peopleChunks = newPeopleStatements()

func newPeopleStatements() texts {
	return manyRows(4, `INSERT INTO people (id, email, name, version) VALUES `,
		` ON CONFLICT (id) DO UPDATE SET email = excluded.email, name = excluded.name, version = excluded.version WHERE people.version < excluded.version`)
}

// upsertPeople is the handler of a projection: it decodes, and stores many rows at once.
func upsertPeople(ctx context.Context, tx Tx, batch []bus.Event) error {
	args := make([]any, 0, 4*len(batch))
	for _, e := range batch {
		m, err := bus.Decode[*eventsv1.UserCreated](e)
		if err != nil {
			return err
		}
		u := m.GetUser()
		args = append(args, e.Key, u.GetEmail(), u.GetName(), int64(e.Version))
	}
	_, err := execMany(ctx, tx, &peopleChunks, 4, args)
	return err
}

// BenchmarkApply takes deliveries of 1,000 new users in, without a bus.
func BenchmarkApply(b *testing.B) {
	const batch = 1000
	db := openDB(b, filepath.Join(b.TempDir(), "apply.db"))
	mustExec(b, db, peopleTable)
	in := mustNew(b, config(b, db), Batch(upsertPeople, &eventsv1.UserCreated{}))
	defer in.writer.Hold()()
	events := people(b, batch*b.N)
	if _, err := in.resume(b.Context(), []bus.Partition{{Position: bus.Position{Topic: topic, Log: "l"}, Next: int64(len(events))}}); err != nil {
		b.Fatal(err)
	}
	for i := range events {
		events[i].At = bus.Position{Topic: topic, Log: "l", Offset: int64(i)}
	}
	b.ResetTimer()
	for i := range b.N {
		d := bus.Delivery{
			Events: events[i*batch : (i+1)*batch],
			Ranges: []bus.Range{{Position: bus.Position{Topic: topic, Log: "l", Offset: int64(i * batch)}, Next: int64((i + 1) * batch)}},
		}
		if err := in.handle(b.Context(), d); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkApplyWithoutALog does the same on a bus without a log, where each event has a number.
func BenchmarkApplyWithoutALog(b *testing.B) {
	for _, bm := range []struct {
		name  string
		lost  func(i int) bool
		times int // how often each delivery is heard: once by each replica
	}{
		{"unnumbered", nil, 1},
		{"nothing is lost", func(int) bool { return false }, 1},
		{"one of a hundred is lost", func(i int) bool { return i%100 == 50 }, 1},
		{"every second is lost", func(i int) bool { return i%2 == 1 }, 1},
		{"two replicas", func(int) bool { return false }, 2},
	} {
		b.Run(bm.name, func(b *testing.B) { applyNumbered(b, bm.lost, bm.times) })
	}
}

func applyNumbered(b *testing.B, lost func(i int) bool, times int) {
	const batch = 1000
	db := openDB(b, filepath.Join(b.TempDir(), "apply.db"))
	mustExec(b, db, peopleTable)
	cfg := config(b, db)
	cfg.Logger = new(logs).logger()
	in := mustNew(b, cfg, Batch(upsertPeople, &eventsv1.UserCreated{}))
	defer in.writer.Hold()()
	events := people(b, batch*b.N)
	seq := uint64(0)
	for i := range events {
		events[i].At = bus.Position{Topic: topic, Offset: -1}
		if lost != nil {
			for seq++; lost(int(seq)); seq++ {
			}
			events[i] = numbered(events[i], "0a1b2c3d", seq)
		}
	}
	b.ResetTimer()
	for i := range b.N {
		for range times {
			if err := in.handle(b.Context(), bus.Delivery{Events: events[i*batch : (i+1)*batch]}); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkApplyOne takes deliveries of one event in, as they come when it is quiet.
func BenchmarkApplyOne(b *testing.B) {
	for _, numbers := range []bool{false, true} {
		b.Run(fmt.Sprintf("numbered=%v", numbers), func(b *testing.B) {
			db := openDB(b, filepath.Join(b.TempDir(), "apply.db"))
			mustExec(b, db, peopleTable)
			mustExec(b, db, `PRAGMA synchronous = OFF`) // so that the disk does not hide what is measured
			in := mustNew(b, config(b, db), Batch(upsertPeople, &eventsv1.UserCreated{}))
			defer in.writer.Hold()()
			events := people(b, b.N)
			b.ResetTimer()
			for i := range events {
				events[i].At = bus.Position{Topic: topic, Offset: -1}
				if numbers {
					events[i] = numbered(events[i], "0a1b2c3d", uint64(i)+1)
				}
				if err := in.handle(b.Context(), bus.Delivery{Events: events[i : i+1]}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
