package inbox

import (
	"context"
	"strconv"
	"strings"

	"github.com/tidings-dev/tidings/bus/internal/sqldb"
)

// sizes are the numbers of rows for which a multi-row statement has a text, so that each text is prepared once. A
// thousand rows take ten statements; larger ones gain nothing.
var sizes = [...]int{256, 64, 16, 4, 1}

// chunks cuts n rows into pieces of these sizes and calls fn for each.
func chunks(n int, fn func(size, from, to int) error) error {
	at := 0
	for s, size := range sizes {
		for ; n-at >= size; at += size {
			if err := fn(s, at, at+size); err != nil {
				return err
			}
		}
	}
	return nil
}

// texts are the texts of one statement, by size.
type texts [len(sizes)]string

// manyRows makes the texts of head + "($1,$2),($3,$4)…" + tail.
func manyRows(cols int, head, tail string) texts {
	var t texts
	for i, size := range sizes {
		t[i] = head + sqldb.Values(size, cols) + tail
	}
	return t
}

// manyKeys makes the texts of head + "$2,$3,…" + tail, for a statement that has $1 in its head.
func manyKeys(head, tail string) texts {
	var t texts
	for i, size := range sizes {
		var b strings.Builder
		for k := range size {
			if k > 0 {
				b.WriteByte(',')
			}
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(k + 2))
		}
		t[i] = head + b.String() + tail
	}
	return t
}

// statements are those with many rows. They are made once, for building a text takes longer than executing it.
type statements struct {
	marks       texts // of a source's keys
	storeMarks  texts
	storeQueue  texts
	hold        texts
	waiting     texts
	holes       texts
	storeMissed texts
}

func newStatements() *statements {
	return &statements{
		// Without ORDER BY, for which SQLite would walk the source's whole range: three times the time.
		marks: manyKeys(`SELECT key, version FROM tidings_inbox_mark WHERE source = $1 AND key IN (`, `)`),
		storeMarks: manyRows(3, `INSERT INTO tidings_inbox_mark (source, key, version) VALUES `,
			` ON CONFLICT (source, key) DO UPDATE SET version = excluded.version WHERE tidings_inbox_mark.version < excluded.version`),
		storeQueue: manyRows(12, `INSERT INTO tidings_inbox_queue
			(source, key, state, attempts, due, owner, error, topic, log, part, off, envelope) VALUES `, ``),
		hold: manyRows(9, `INSERT INTO tidings_inbox_waiting
			(source, key, version, until, topic, log, part, off, envelope) VALUES `, ` ON CONFLICT DO NOTHING`),
		waiting:     manyKeys(`SELECT key, version FROM tidings_inbox_waiting WHERE source = $1 AND key IN (`, `)`),
		storeMissed: manyRows(3, `INSERT INTO tidings_inbox_missed (stream, first, last) VALUES `, ``),
		holes:       manyKeys(`SELECT key, first, last FROM tidings_inbox_hole WHERE source = $1 AND key IN (`, `)`),
	}
}

// execMany executes a statement for rows of cols arguments each, and returns how many rows it changed.
func execMany(ctx context.Context, tx Tx, t *texts, cols int, args []any) (changed int64, err error) {
	err = chunks(len(args)/cols, func(size, from, to int) error {
		r, err := tx.ExecContext(ctx, t[size], args[from*cols:to*cols]...)
		if err != nil {
			return err
		}
		n, err := r.RowsAffected()
		changed += n
		return err
	})
	return changed, err
}

// queryKeys runs a query for the keys of a source, and calls scan for each row.
func queryKeys(ctx context.Context, tx Tx, t *texts, source int64, keys []string, scan func(row scanner) error) error {
	args := make([]any, 0, 1+min(len(keys), sizes[0]))
	return chunks(len(keys), func(size, from, to int) error {
		args = append(args[:0], source)
		for _, k := range keys[from:to] {
			args = append(args, k)
		}
		return query(ctx, tx, scan, t[size], args...)
	})
}

// scanner is a row.
type scanner interface{ Scan(dest ...any) error }

// query calls scan for each row of a query, and closes it whatever happens: open rows would block the connection.
func query(ctx context.Context, q querier, scan func(row scanner) error, text string, args ...any) error {
	rows, err := q.QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
