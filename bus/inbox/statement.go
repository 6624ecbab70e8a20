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
	moveMarks   texts
	newMarks    texts
	storeQueue  texts
	hold        texts
	waiting     texts
	lockWaiting texts
	holes       texts
	storeMissed texts
	lines       texts
	looseLines  texts
	park        texts
}

func newStatements(forUpdate string) *statements {
	// On SQLite there is no ORDER BY, for which it would walk the source's whole range: three times the time. On Postgres
	// rows are locked, and so in order; and the keys are one array, for with a list of them it would keep a plan that reads
	// the whole table, made while that was small.
	keys := func(head, order string) texts {
		if forUpdate == "" {
			return manyKeys(head+` IN (`, `)`)
		}
		return texts{head + ` = ANY($2::text[])` + order}
	}
	const (
		marks   = `SELECT key, version FROM tidings_inbox_mark WHERE source = $1 AND key`
		waiting = `SELECT key, version FROM tidings_inbox_waiting WHERE source = $1 AND key`
		holes   = `SELECT key, first, last FROM tidings_inbox_hole WHERE source = $1 AND key`
		lines   = `SELECT key, version FROM tidings_inbox_parked WHERE line = $1 AND key`
		loose   = `SELECT key, version FROM tidings_inbox_parked WHERE (line = $1 OR line = -$1) AND version = 0 AND key`
	)
	rows := func(head, tail string) texts {
		if forUpdate == "" {
			return manyRows(3, head+` VALUES `, tail)
		}
		return texts{head + ` SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[])` + tail}
	}
	const newMarks = `INSERT INTO tidings_inbox_mark (source, key, version)`
	return &statements{
		marks: keys(marks, ` ORDER BY key`+forUpdate),
		moveMarks: rows(newMarks,
			` ON CONFLICT (source, key) DO UPDATE SET version = excluded.version WHERE tidings_inbox_mark.version < excluded.version`),
		newMarks: rows(newMarks, ` ON CONFLICT (source, key) DO NOTHING`),
		storeQueue: manyRows(12, `INSERT INTO tidings_inbox_queue
			(source, key, state, attempts, due, owner, error, topic, log, part, off, envelope) VALUES `, ``),
		hold: manyRows(9, `INSERT INTO tidings_inbox_waiting
			(source, key, version, until, topic, log, part, off, envelope) VALUES `, ` ON CONFLICT DO NOTHING`),
		waiting:     keys(waiting, ``),
		lockWaiting: keys(waiting, ` ORDER BY key, version`+forUpdate),
		storeMissed: manyRows(3, `INSERT INTO tidings_inbox_missed (stream, first, last) VALUES `, ``),
		holes:       keys(holes, ``),
		lines:       keys(lines, ``),
		looseLines:  keys(loose, ` ORDER BY key, id`+forUpdate),
		park: manyRows(parkedColumns, `INSERT INTO tidings_inbox_parked (grp, state, source, key, version, have, type, event_id,
			reaction, attempts, error, time, topic, log, part, off, raw, next, seq, line, upto) VALUES `, ` ON CONFLICT DO NOTHING`),
	}
}

// execMany executes a statement for rows of cols arguments each, and returns how many rows it changed.
func execMany(ctx context.Context, tx Tx, t *texts, cols int, args []any) (changed int64, err error) {
	exec := func(text string, args []any) error {
		r, err := tx.ExecContext(ctx, text, args...)
		if err != nil {
			return err
		}
		n, err := r.RowsAffected()
		changed += n
		return err
	}
	if t[1] == "" && len(args) > 0 { // one text, for any number of rows
		err = exec(t[0], columnsOf(cols, args))
		return changed, err
	}
	err = chunks(len(args)/cols, func(size, from, to int) error { return exec(t[size], args[from*cols:to*cols]) })
	return changed, err
}

// columnsOf turns rows into an array for each column.
func columnsOf(cols int, args []any) []any {
	arrays := make([]any, cols)
	for c := range cols {
		var column []string
		for i := c; i < len(args); i += cols {
			if s, ok := args[i].(string); ok {
				column = append(column, s)
			} else {
				column = append(column, strconv.FormatInt(args[i].(int64), 10))
			}
		}
		arrays[c] = arrayOf(column)
	}
	return arrays
}

// queryKeys runs a query for the keys of a source, and calls scan for each row.
func queryKeys(ctx context.Context, tx Tx, t *texts, source int64, keys []string, scan func(row scanner) error) error {
	if t[1] == "" { // one text, for any number of them
		return query(ctx, tx, scan, t[0], source, arrayOf(keys))
	}
	args := make([]any, 0, 1+min(len(keys), sizes[0]))
	return chunks(len(keys), func(size, from, to int) error {
		args = append(args[:0], source)
		for _, k := range keys[from:to] {
			args = append(args, k)
		}
		return query(ctx, tx, scan, t[size], args...)
	})
}

// arrayOf writes an array of texts as Postgres reads it, which every driver can pass on.
func arrayOf(texts []string) string {
	b := []byte{'{'}
	for i, s := range texts {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		for j := range len(s) {
			if s[j] == '"' || s[j] == '\\' {
				b = append(b, '\\')
			}
			b = append(b, s[j])
		}
		b = append(b, '"')
	}
	return string(append(b, '}'))
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
