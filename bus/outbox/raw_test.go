package outbox_test

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/tidings-dev/tidings/bus"
)

// What the relay is measured against: a loop without leases, retries, held keys, validation or an envelope that is
// read, which does the same work on the same tables as fast as is known: it reads a batch ahead while it publishes
// one and marks another, and marks with multi-row statements that are prepared once.

const rawBatch = 5000

type rawRow struct {
	position   int64
	key, value []byte
	at         ck.TopicPartition
}

type rawRelay struct {
	b              *testing.B
	producer       *ck.Producer
	topic          string
	read, many     *sql.Stmt
	remove         *sql.Stmt
	reader, writer *sql.Conn
}

const rawChunk = 100

func newRawRelay(b *testing.B, db *sql.DB, addr, topic string) *rawRelay {
	ctx := context.Background()
	p, err := ck.NewProducer(&ck.ConfigMap{
		"bootstrap.servers": addr, "acks": "all", "enable.idempotence": true, "linger.ms": 0,
		"partitioner": "murmur2_random", "go.delivery.report.fields": "none", "enable.metrics.push": false,
		"queue.buffering.max.messages": 1_000_000,
	})
	if err != nil {
		b.Fatal(err)
	}
	r := &rawRelay{b: b, producer: p, topic: topic}
	r.reader, err = db.Conn(ctx)
	if err != nil {
		b.Fatal(err)
	}
	r.writer, err = db.Conn(ctx)
	if err != nil {
		b.Fatal(err)
	}
	prepare := func(c *sql.Conn, query string) *sql.Stmt {
		s, err := c.PrepareContext(ctx, query)
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
	r.read = prepare(r.reader, `SELECT o.position, o.key, o.envelope
		FROM tidings_outbox_unsent u CROSS JOIN tidings_outbox o
		WHERE o.position = u.position AND u.position > $1 ORDER BY u.position LIMIT $2`)
	values := strings.TrimSuffix(strings.Repeat("(?,?,?,?,?),", rawChunk), ",")
	r.many = prepare(r.writer, `INSERT INTO tidings_outbox_sent (position, sent, log, part, off) VALUES `+values)
	r.remove = prepare(r.writer, `DELETE FROM tidings_outbox_unsent WHERE position BETWEEN ? AND ?`)
	return r
}

func (r *rawRelay) close() {
	r.producer.Close()
	r.reader.Close()
	r.writer.Close()
}

func (r *rawRelay) readBatch(after int64) []rawRow {
	rows, err := r.read.Query(after, rawBatch)
	if err != nil {
		r.b.Error(err)
		return nil
	}
	defer rows.Close()
	batch := make([]rawRow, 0, rawBatch)
	for rows.Next() {
		var row rawRow
		if err := rows.Scan(&row.position, &row.key, &row.value); err != nil {
			r.b.Error(err)
		}
		batch = append(batch, row)
	}
	return batch
}

func (r *rawRelay) publish(batch []rawRow) {
	headers := []ck.Header{{Key: "content-type", Value: []byte(bus.TypeEnvelope)}}
	for i := range batch {
		msg := &ck.Message{
			TopicPartition: ck.TopicPartition{Topic: &r.topic, Partition: ck.PartitionAny},
			Key:            batch[i].key, Value: batch[i].value, Headers: headers, Opaque: &batch[i],
		}
		if err := r.producer.Produce(msg, nil); err != nil {
			r.b.Error(err)
		}
	}
	for n := 0; n < len(batch); {
		if m, ok := (<-r.producer.Events()).(*ck.Message); ok {
			if m.TopicPartition.Error != nil {
				r.b.Error(m.TopicPartition.Error)
			}
			m.Opaque.(*rawRow).at = m.TopicPartition
			n++
		}
	}
}

func (r *rawRelay) mark(batch []rawRow) {
	ctx := context.Background()
	do := func(_ any, err error) {
		if err != nil {
			r.b.Error(err)
		}
	}
	do(r.writer.ExecContext(ctx, "BEGIN IMMEDIATE"))
	args := make([]any, 0, 5*rawChunk)
	now, log := any(time.Now().UnixMicro()), any("01932b5e-7a00-7000-8000-000000000000")
	for from := 0; from < len(batch); from += rawChunk {
		args = args[:0]
		for i := from; i < from+rawChunk; i++ {
			row := &batch[i]
			args = append(args, row.position, now, log, int64(row.at.Partition), int64(row.at.Offset))
		}
		do(r.many.Exec(args...))
	}
	do(r.remove.Exec(batch[0].position, batch[len(batch)-1].position))
	do(r.writer.ExecContext(ctx, "COMMIT"))
}

func (r *rawRelay) run() {
	read := func(after int64) <-chan []rawRow {
		c := make(chan []rawRow, 1)
		go func() { c <- r.readBatch(after) }()
		return c
	}
	marked := make(chan struct{}, 1)
	marked <- struct{}{}
	for batch := r.readBatch(0); len(batch) > 0; {
		next := read(batch[len(batch)-1].position)
		r.publish(batch)
		<-marked
		go func(batch []rawRow) { r.mark(batch); marked <- struct{}{} }(batch)
		batch = <-next
	}
	<-marked
}

// rawRelayAll measures the loop on a backlog like that of relayAll.
func rawRelayAll(b *testing.B, addr, topic string) time.Duration {
	db, ob := openOwner(b)
	defer db.Close()
	fill(b, ob, topic, relayEvents)
	r := newRawRelay(b, db, addr, topic)
	defer r.close()
	if err := warm(r.producer, topic); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	r.run()
	took := time.Since(start)
	var left int
	if err := db.QueryRow(`SELECT count(*) FROM tidings_outbox_unsent`).Scan(&left); err != nil || left > 0 {
		b.Fatalf("the raw loop left %d events: %v", left, err)
	}
	return took
}

// warm makes the connections, as the relay's bus has them.
func warm(p *ck.Producer, topic string) error {
	err := p.Produce(&ck.Message{TopicPartition: ck.TopicPartition{Topic: &topic, Partition: ck.PartitionAny}}, nil)
	if err != nil {
		return err
	}
	for {
		switch m := (<-p.Events()).(type) {
		case *ck.Message:
			return m.TopicPartition.Error
		case ck.Error:
			return fmt.Errorf("warm: %w", m)
		}
	}
}
