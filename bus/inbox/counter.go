package inbox

import (
	"context"
	"slices"
	"strings"
)

// Names of what is counted, in the table tidings_inbox_counter.
const (
	counterDuplicates = "duplicates" // events that were discarded because they had been done
	counterMissing    = "missing"    // versions that a projection has passed over
	counterLost       = "lost"       // offsets that the log no longer held
	counterResets     = "resets"     // partitions that were begun again
	counterSkipped    = "skipped"    // reactions that were too old
	counterForeign    = "foreign"    // events of sources that are not among Config.Sources
)

// counts is what one transaction adds to the counters: with its commit, so that a rollback counts nothing twice. There
// are few names, and most transactions add none, so a map would be slower.
type counts struct {
	names []string
	n     []int64
}

func (c *counts) add(name string, n int64) {
	if n != 0 {
		c.n[c.name(name)] += n
	}
}

// name makes sure that name is among them, if only as 0, and returns its place.
func (c *counts) name(name string) int {
	for i := range c.names {
		if c.names[i] == name {
			return i
		}
	}
	c.names, c.n = append(c.names, name), append(c.n, 0)
	return len(c.names) - 1
}

// store adds them to the table. Call it last, for other replicas wait for these rows until the transaction ends.
func (c *counts) store(ctx context.Context, tx Tx, group string) error {
	const text = `INSERT INTO tidings_inbox_counter (grp, name, n) VALUES ($1, $2, $3)
		ON CONFLICT (grp, name) DO UPDATE SET n = tidings_inbox_counter.n + excluded.n`
	return c.each(ctx, tx, group, text)
}

// each executes a statement for each of them, in order of name: who adds to two of them must not wait for one who has
// the first, and waits for the second.
func (c *counts) each(ctx context.Context, tx Tx, group, text string) error {
	order := make([]int, len(c.names))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return strings.Compare(c.names[i], c.names[j]) })
	for _, i := range order {
		if _, err := tx.ExecContext(ctx, text, group, c.names[i], c.n[i]); err != nil {
			return err
		}
	}
	return nil
}

// storeIgnored counts events of types without a route, by type, for a later release that has one. Types of their twins
// have a 0.
func storeIgnored(ctx context.Context, tx Tx, group string, c *counts) error {
	const text = `INSERT INTO tidings_inbox_ignored (grp, type, n) VALUES ($1, $2, $3)
		ON CONFLICT (grp, type) DO UPDATE SET n = tidings_inbox_ignored.n + excluded.n`
	return c.each(ctx, tx, group, text)
}

// warnIgnored says which types this release takes and an earlier one has ignored. Their marks say that they are done,
// so only a rebuild brings them back.
func (in *Inbox) warnIgnored(ctx context.Context) error {
	const text = `SELECT type, n FROM tidings_inbox_ignored WHERE grp = $1 ORDER BY type`
	return query(ctx, in.cfg.DB, func(row scanner) error {
		var name string
		var n int64
		if err := row.Scan(&name, &n); err != nil {
			return err
		}
		switch {
		case in.routes.of(name) == nil:
		case n > 0:
			in.log.Warn("events of a type that is now taken were ignored before: a rebuild is due", "type", name, "ignored", n)
		default: // those of the twins stand at the type that came first
			in.log.Warn("changes that are told by a type that is now taken were ignored before: a rebuild is due", "type", name)
		}
		return nil
	}, text, in.cfg.Group)
}
