package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/tidings-dev/tidings/bus"
)

// batch is what was read in one go, in order of position.
type batch struct {
	positions []int64
	topics    []string
	events    []bus.Event
	bad       []badRow
	last      int64 // the position up to which was read
	full      bool  // there may be more above it
}

// badRow is a row that can't be published, ever.
type badRow struct {
	position int64
	err      error
}

// rows is how many rows were read.
func (b *batch) rows() int { return len(b.positions) + len(b.bad) }

// any reports whether there is something to do.
func (b *batch) any() bool { return b.rows() > 0 }

// bounds are the lowest and the highest unsent position that are visible now, or 0. The lowest only says where to begin
// to look: without it Postgres would at times go through all that was sent before.
func (r *relay) bounds(ctx context.Context) (low, high int64, err error) {
	ctx, cancel := r.looking(ctx)
	defer cancel()
	err = r.view.QueryRowContext(ctx, `SELECT coalesce((SELECT min(position) FROM tidings_outbox_unsent), 0),
		coalesce((SELECT max(position) FROM tidings_outbox_unsent), 0)`).Scan(&low, &high)
	if err != nil {
		return 0, 0, fmt.Errorf("look for unsent events: %w", err)
	}
	return low, high, nil
}

// readQuery starts from the short table of what is unsent; CROSS JOIN keeps SQLite from starting at the other one.
const readQuery = `SELECT o.position, o.topic, o.envelope
FROM tidings_outbox_unsent u CROSS JOIN tidings_outbox o
WHERE o.position = u.position AND u.position > $1 AND u.position <= $2
ORDER BY u.position LIMIT $3`

// readWithout is readQuery without the rows of some topics, which the database goes past much faster than the relay.
// SQLite counts arguments in the order of the text, so the limit is the last one here too.
func readWithout(after, high int64, topics []string, limit int) (query string, args []any) {
	if len(topics) == 0 {
		return readQuery, []any{after, high, limit}
	}
	args = []any{after, high}
	names := make([]string, len(topics))
	for i, t := range topics {
		args = append(args, t)
		names[i] = fmt.Sprint("$", len(args))
	}
	filter := fmt.Sprintf("AND o.topic NOT IN (%s)\nORDER BY u.position LIMIT $%d", strings.Join(names, ","), len(args)+1)
	return strings.Replace(readQuery, "ORDER BY u.position LIMIT $3", filter, 1), append(args, limit)
}

// read reads a batch above after and up to high, without some topics.
func (r *relay) read(ctx context.Context, after, high int64, without []string) (*batch, error) {
	ctx, cancel := r.looking(ctx)
	defer cancel()
	query, args := readWithout(after, high, without, r.pace.batch)
	rows, err := r.view.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read unsent events: %w", err)
	}
	defer rows.Close()
	b := &batch{last: after}
	memory := arena{}
	for rows.Next() {
		if err := b.scan(rows, &memory); err != nil {
			return nil, fmt.Errorf("read unsent events: %w", err)
		}
		if memory.used >= r.pace.batchBytes {
			b.full = true
			break
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read unsent events: %w", err)
	}
	b.full = b.full || b.rows() >= r.pace.batch
	return b, nil
}

// scan takes one row. A row that is no event is put aside and doesn't stop the others.
func (b *batch) scan(rows *sql.Rows, memory *arena) error {
	var position int64
	var topic, envelope sql.RawBytes
	if err := rows.Scan(&position, &topic, &envelope); err != nil {
		return err
	}
	b.last = position
	e, err := bus.ParseEnvelope(memory.keep(envelope))
	if err != nil {
		b.bad = append(b.bad, badRow{position, err})
		return nil
	}
	e.Seq, e.SeqLog = 0, "" // it is the relay that numbers
	b.positions = append(b.positions, position)
	b.topics = append(b.topics, b.topicName(topic))
	b.events = append(b.events, e)
	return nil
}

// topicName makes no new string for the topic of the row before.
func (b *batch) topicName(topic []byte) string {
	if n := len(b.topics); n > 0 && b.topics[n-1] == string(topic) {
		return b.topics[n-1]
	}
	return string(topic)
}

// arena keeps bytes in large pieces of memory, of which events share parts.
type arena struct {
	free []byte
	used int
}

// arenaPiece is what events share; one that would waste much of it has memory of its own.
const arenaPiece = 256 << 10

// keep copies b, which the driver will write over.
func (a *arena) keep(b []byte) []byte {
	a.used += len(b)
	if len(b) > len(a.free) {
		if len(b) > arenaPiece/8 {
			return append([]byte(nil), b...)
		}
		a.free = make([]byte, arenaPiece)
	}
	n := copy(a.free, b)
	kept := a.free[:n:n]
	a.free = a.free[n:]
	return kept
}
