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
