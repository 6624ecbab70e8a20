package inbox

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/mattn/go-sqlite3"
	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

// catchUp is how many users a benchmark catches up with.
const catchUp = 200_000

// benchDB opens a database with the projection's table, tuned as a service's is.
func benchDB(b *testing.B, name string) *sql.DB {
	b.Helper()
	db := openDB(b, filepath.Join(b.TempDir(), name))
	mustExec(b, db, peopleTable)
	return db
}

// BenchmarkCatchUp has an empty database catch up with 200,000 users from Kafka, through the inbox with a multi-row
// upsert, and by a loop written by hand that does the same work: "of-raw" is the ratio of their rates, each the
// median of several turns.
func BenchmarkCatchUp(b *testing.B) {
	url := brokerURL(b)
	bb := openBus(b, url)
	topic := uniqueTopic()
	events := people(b, catchUp)
	for chunk := range slices.Chunk(events, 5000) {
		if err := bb.Publish(b.Context(), topic, chunk...); err != nil {
			b.Fatal(err)
		}
	}
	const turns = 5
	var ours, raw []time.Duration
	for range b.N {
		for turn := range turns {
			ours = append(ours, inboxCatchUp(b, bb, topic, benchDB(b, fmt.Sprintf("inbox%d.db", turn))))
			raw = append(raw, rawCatchUp(b, url, topic, benchDB(b, fmt.Sprintf("raw%d.db", turn))))
		}
	}
	slices.Sort(ours)
	slices.Sort(raw)
	o, r := ours[len(ours)/2], raw[len(raw)/2]
	b.ReportMetric(float64(catchUp)/o.Seconds(), "events/s")
	b.ReportMetric(float64(catchUp)/r.Seconds(), "raw-events/s")
	b.ReportMetric(r.Seconds()/o.Seconds(), "of-raw")
}

// inboxCatchUp runs an inbox until it has everything, and returns how long it took from the first event on.
func inboxCatchUp(b *testing.B, bb bus.Bus, topic string, db *sql.DB) time.Duration {
	b.Helper()
	defer db.Close()
	cfg := config(b, db)
	cfg.Topics, cfg.Logger = []string{topic}, new(logs).logger()
	var start, n atomic.Int64
	in := mustNew(b, cfg, Batch(func(ctx context.Context, tx Tx, batch []bus.Event) error {
		start.CompareAndSwap(0, time.Now().UnixNano())
		n.Add(int64(len(batch)))
		return upsertPeople(ctx, tx, batch)
	}, &eventsv1.UserCreated{}))
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx, bb) }()
	for n.Load() < catchUp {
		wait(ctx, 200*time.Microsecond, nil)
	}
	for status(b, in).Versions < catchUp {
		wait(ctx, 200*time.Microsecond, nil)
	}
	took := time.Since(time.Unix(0, start.Load()))
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	return took
}

// rawCatchUp is what one would write without this library, with care: the client's own consumer, offsets, marks and
// rows in one transaction, multi-row statements prepared once on the driver's own connection.
func rawCatchUp(b *testing.B, url, topic string, db *sql.DB) time.Duration {
	b.Helper()
	defer db.Close()
	if err := rawTables(db); err != nil {
		b.Fatal(err)
	}
	c, err := ck.NewConsumer(&ck.ConfigMap{
		"bootstrap.servers": strings.TrimPrefix(url, "kafka://"), "group.id": topic + ".raw", "enable.auto.commit": false,
		"enable.auto.offset.store": false, "fetch.queue.backoff.ms": 1, "enable.metrics.push": false,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	var parts []ck.TopicPartition
	for p := range int32(12) {
		parts = append(parts, ck.TopicPartition{Topic: &topic, Partition: p, Offset: 0})
	}
	if err := c.Assign(parts); err != nil {
		b.Fatal(err)
	}
	var took time.Duration
	err = onDriver(db, func(s *rawStore) (err error) {
		took, err = rawLoop(c, s)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return took
}

// rawTables makes what the raw loop keeps its marks and offsets in.
func rawTables(db *sql.DB) error {
	_, err := db.Exec(`CREATE TABLE mark (key TEXT NOT NULL PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
		CREATE TABLE position (part INTEGER NOT NULL PRIMARY KEY, next INTEGER NOT NULL)`)
	return err
}

// onDriver gives fn a connection as the driver has it, without database/sql in between.
func onDriver(db *sql.DB, fn func(*rawStore) error) error {
	conn, err := db.Conn(context.Background())
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(d any) error { return fn(newRawStore(d.(*sqlite3.SQLiteConn))) })
}

// rawLoop reads until it has everything.
func rawLoop(c *ck.Consumer, s *rawStore) (time.Duration, error) {
	var start time.Time
	for got := 0; got < catchUp; {
		timeout := 100
		for len(s.events) < bus.DefaultMaxBatch {
			m, ok := c.Poll(timeout).(*ck.Message)
			if !ok {
				break
			}
			if start.IsZero() {
				start = time.Now()
			}
			timeout = 0
			e, err := bus.ParseEnvelope(m.Value)
			if err != nil {
				return 0, err
			}
			s.events = append(s.events, e)
			s.next[m.TopicPartition.Partition] = int64(m.TopicPartition.Offset) + 1
		}
		if len(s.events) == 0 {
			continue
		}
		got += len(s.events)
		if err := s.commit(); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

// rawStore writes batches on the driver's own connection.
type rawStore struct {
	c      *sqlite3.SQLiteConn
	stmts  map[string]driver.Stmt
	events []bus.Event
	next   map[int32]int64
	marks  texts
	named  []driver.NamedValue
}

func newRawStore(c *sqlite3.SQLiteConn) *rawStore {
	return &rawStore{c: c, stmts: map[string]driver.Stmt{}, next: map[int32]int64{}, marks: manyRows(2, `INSERT INTO mark (key, version) VALUES `,
		` ON CONFLICT (key) DO UPDATE SET version = excluded.version WHERE mark.version < excluded.version`)}
}

func (s *rawStore) exec(text string, args ...driver.Value) error {
	st := s.stmts[text]
	if st == nil {
		var err error
		if st, err = s.c.Prepare(text); err != nil {
			return err
		}
		s.stmts[text] = st
	}
	s.named = s.named[:0]
	for i, v := range args {
		s.named = append(s.named, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	_, err := st.(driver.StmtExecContext).ExecContext(context.Background(), s.named)
	return err
}

func (s *rawStore) commit() error {
	slices.SortFunc(s.events, func(a, b bus.Event) int { return strings.Compare(a.Key, b.Key) })
	marks, rows := make([]driver.Value, 0, 2*len(s.events)), make([]driver.Value, 0, 4*len(s.events))
	for _, e := range s.events {
		m, err := bus.Decode[*eventsv1.UserCreated](e)
		if err != nil {
			return err
		}
		marks = append(marks, e.Key, int64(e.Version))
		rows = append(rows, e.Key, m.GetUser().GetEmail(), m.GetUser().GetName(), int64(e.Version))
	}
	if err := s.exec(`BEGIN IMMEDIATE`); err != nil {
		return err
	}
	err := chunks(len(s.events), func(size, from, to int) error {
		if err := s.exec(s.marks[size], marks[2*from:2*to]...); err != nil {
			return err
		}
		return s.exec(peopleChunks[size], rows[4*from:4*to]...)
	})
	if err != nil {
		return err
	}
	for p, next := range s.next {
		if err := s.exec(`INSERT INTO position (part, next) VALUES ($1, $2) ON CONFLICT (part) DO UPDATE SET next = excluded.next`, int64(p), next); err != nil {
			return err
		}
	}
	s.events = s.events[:0]
	clear(s.next)
	return s.exec(`COMMIT`)
}
