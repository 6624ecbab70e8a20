package inbox

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/internal/crashpoint"
)

// performer performs queued reactions. Only its own goroutine claims; each claimed reaction has a goroutine that
// performs it and writes down the outcome, in a commit shared with the others'.
type performer struct {
	*Inbox
	owner string // of its leases: one Run of one process
	group sync.WaitGroup

	mu   sync.Mutex
	busy []int64 // seq of what is being performed
}

// claimed is a reaction that this process is to perform.
type claimed struct {
	seq      int64
	ev       bus.Event
	route    *Route // nil where this program has none for the type
	up       upcast // makes the message that the route takes; nil where it takes the event's own
	state    State
	attempts int
	due      int64
	err      string // of the last try
}

// untried reports that c was never begun. One that was, and that a person has put back into the queue, has an error.
func (c *claimed) untried() bool { return c.state == Queued && c.attempts == 0 && c.err == "" }

// performReactions performs what is queued until ctx ends, and returns once nothing is being performed.
func (in *Inbox) performReactions(ctx context.Context) error {
	p := &performer{Inbox: in, owner: uuid.NewString()}
	defer p.group.Wait()
	return in.loop(ctx, "reactions could not be taken from the queue and will be tried again", in.queued, func(ctx context.Context) (time.Time, error) {
		n, err := p.start(ctx)
		if n > 0 || err != nil {
			return in.cfg.Now(), err // look again at once
		}
		return p.nextDue(ctx)
	})
}

// start claims as many reactions as there are free workers, and begins to perform them.
func (p *performer) start(ctx context.Context) (started int, err error) {
	p.mu.Lock()
	busy := slices.Clone(p.busy)
	p.mu.Unlock()
	// Looked up by the pool first, so that an idle service doesn't begin transactions.
	if due, err := p.nextDue(ctx); err != nil || due.IsZero() || due.After(p.cfg.Now()) {
		return 0, err
	}
	claims, settled, err := p.claim(ctx, busy)
	if err != nil {
		return 0, err
	}
	crashpoint.Pass("inbox.R1b")
	for _, c := range claims {
		p.begin(c.seq)
		p.group.Go(func() {
			defer poke(p.queued)
			defer p.end(c.seq)
			p.perform(ctx, c)
		})
	}
	return len(claims) + settled, nil
}

// begin and end keep what is being performed here, so that it is not claimed again should it overrun its lease.
func (p *performer) begin(seq int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = append(p.busy, seq)
}

func (p *performer) end(seq int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = slices.DeleteFunc(p.busy, func(s int64) bool { return s == seq })
}

// heads are the rows that may be taken at a time: those that are the first of their key, and due. The plus keeps the
// database from finding rows by source: it would then sort the whole queue to find the first few, each time.
const heads = ` FROM tidings_inbox_queue q
	WHERE +q.source IN (SELECT id FROM tidings_inbox_source WHERE grp = $1)
	AND NOT EXISTS (SELECT 1 FROM tidings_inbox_queue e WHERE e.source = q.source AND e.key = q.key AND e.seq < q.seq)`

// What is due, and when the next is.
const (
	nextText = `SELECT q.seq, q.due` + heads + ` ORDER BY q.due, q.seq LIMIT $2`
	dueText  = `SELECT q.envelope, q.topic, q.log, q.part, q.off, q.seq, q.state, q.attempts, q.due, q.error` + heads +
		` AND q.due <= $2 ORDER BY q.due, q.seq LIMIT $3`
)

// nextDue says when the next reaction is due that is not being performed here; zero where there is none. Where no
// worker is free it is zero too, and the end of one wakes the loop.
func (p *performer) nextDue(ctx context.Context) (time.Time, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.busy) >= p.cfg.Workers {
		return time.Time{}, nil
	}
	var next time.Time
	// One more row than are being performed: at least one of them is somebody's to take.
	err := query(ctx, p.cfg.DB, func(row scanner) error {
		var seq, due int64
		if err := row.Scan(&seq, &due); err != nil {
			return err
		}
		if next.IsZero() && !slices.Contains(p.busy, seq) {
			next = time.UnixMilli(due)
		}
		return nil
	}, nextText, p.cfg.Group, len(p.busy)+1)
	return next, err
}

// claim marks due reactions as being sent, with a lease, and commits that before any is performed. Those that are not
// to be performed any more are settled here.
func (p *performer) claim(ctx context.Context, busy []int64) (claims []claimed, settled int, err error) {
	err = p.writer.InTx(ctx, func(ctx context.Context, tx Tx) error {
		claims, settled = nil, 0 // nothing is kept of a run whose commit failed
		var skipped counts
		due, err := p.due(ctx, tx, p.cfg.Workers+len(busy))
		if err != nil {
			return err
		}
		for _, c := range due {
			if len(busy)+len(claims) >= p.cfg.Workers {
				break
			}
			if slices.Contains(busy, c.seq) {
				continue // it overruns its lease, but here it is still being performed
			}
			mine, err := p.take(ctx, tx, &c, &skipped)
			if err != nil {
				return err
			}
			if mine {
				claims = append(claims, c)
			} else {
				settled++
			}
		}
		crashpoint.Pass("inbox.R1a")
		return skipped.store(ctx, tx, p.cfg.Group)
	})
	return claims, settled, err
}

// due reads the reactions that may be taken now: queued ones, those whose delay is over, and those of somebody whose
// lease has run out. They are locked, and what another replica has locked is passed over: it is being taken there.
func (p *performer) due(ctx context.Context, tx Tx, limit int) ([]claimed, error) {
	var found []claimed
	text := dueText
	if p.forUpdate != "" {
		text += p.forUpdate + " OF q SKIP LOCKED"
	}
	err := query(ctx, tx, func(row scanner) (err error) {
		var c claimed
		c.ev, err = scanEvent(row, &c.seq, &c.state, &c.attempts, &c.due, &c.err)
		if h := p.routes.of(c.ev.Type); h != nil {
			c.route, c.up = h.after, h.up
		}
		found = append(found, c)
		return err
	}, text, p.cfg.Group, p.cfg.Now().UnixMilli(), limit)
	return found, err
}

// take claims c, or settles it if it is not to be performed: then it reports false.
func (p *performer) take(ctx context.Context, tx Tx, c *claimed, skipped *counts) (mine bool, err error) {
	now := p.cfg.Now()
	switch {
	case c.route == nil && p.isUnread(&c.ev):
		return false, p.leaveUnread(ctx, tx, c)
	case c.route == nil:
		return false, p.bury(ctx, tx, c, fmt.Errorf("this program has no reaction to events of type %s", c.ev.Type))
	case c.untried() && p.tooOld(&c.ev, now): // what was begun is never just left
		skipped.add(counterSkipped, 1)
		return false, p.leave(ctx, tx, c, Progress{State: Skipped, Error: c.err})
	case c.state == Sending:
		p.log.WarnContext(ctx, "a reaction is performed again, for the lease of who was performing it has run out",
			"id", c.ev.ID, "type", c.ev.Type, "key", c.ev.Key, "attempts", c.attempts)
	}
	// By condition, so that of two replicas only one claims it even where nothing was locked. A due row with the lease's end keeps it from all
	// others until then.
	const text = `UPDATE tidings_inbox_queue SET state = $1, attempts = $2, due = $3, owner = $4 WHERE seq = $5 AND state = $6 AND due = $7`
	lease := now.Add(2 * p.cfg.Timeout).UnixMilli()
	if err := one(tx.ExecContext(ctx, text, string(Sending), c.attempts+1, lease, p.owner, c.seq, string(c.state), c.due)); err != nil {
		return false, err
	}
	c.attempts, c.state = c.attempts+1, Sending
	return true, p.tell(ctx, tx, c.route, &c.ev, Progress{State: Sending, Attempts: c.attempts, Error: c.err, Time: now})
}
