package inbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"google.golang.org/protobuf/proto"
)

// A change may be told by several events, its twins: see [bus.NewTwins]. The first that can be read is taken, and its mark
// makes duplicates of the others. One that can't be read is passed over, without any mark, where another can: that one is
// still to come, or was there before.
//
// What was stored by another release is another matter, be it parked, waiting or queued. Its twins were discarded for its
// sake, so it is kept for a release that can read it, with all that has to wait for it.

// Types returns the types of the events that in can read, in order: those of its routes and upcasters. With a route of
// [Any] it reads every other one, too, and the last is "*".
func (in *Inbox) Types() []string {
	types := slices.Sorted(maps.Keys(in.routes.byType))
	if in.routes.any != nil {
		types = append(types, "*")
	}
	return types
}

// twin returns the handlers of the best alternative to e that can be read, and its type; nil where there is none. Only
// asked for an event that can't be read itself.
func (t *table) twin(e *bus.Event) (h *handlers, name string) {
	if len(e.Ext) == 0 {
		return nil, ""
	}
	for _, name := range e.Alternatives() {
		if h := t.byType[name]; h != nil {
			return h, name
		}
	}
	return nil, ""
}

// hasTwin reports whether e, which can't be read, has a twin that can.
func (a *attempt) hasTwin(e *bus.Event) bool {
	h, _ := a.routes.twin(e)
	return h != nil
}

// restUnread is how long what only another release can read is left alone before it is looked at again. No attempt is
// spent on it.
const restUnread = time.Minute

// errUnread is wrapped by the error of what only another release can read.
var errUnread = errors.New("another release has stored it, and it waits for one that can read it")

// unread makes handlers for a stored event that can't be read, while a twin of it could be, and was discarded for its sake.
func unread(e *bus.Event, twin string) *handlers {
	why := fmt.Errorf("this release reads %s and not %s: %w", short8(twin), short8(e.Type), errUnread)
	return &handlers{effect: &Route{event: func(context.Context, Tx, *bus.Event, proto.Message) error { return why }}}
}

// isUnread reports whether a queued reaction waits for another release: this one has no route for its type but one of
// [Any], and has a reaction to a twin.
func (p *performer) isUnread(e *bus.Event) bool {
	h, _ := p.routes.twin(e)
	return p.routes.byType[e.Type] == nil && h != nil && h.after != nil
}

// leaveUnread leaves such a reaction in the queue as it is, with its key's later ones behind it, and looks at it again
// after a while.
func (p *performer) leaveUnread(ctx context.Context, tx Tx, c *claimed) error {
	const text = `UPDATE tidings_inbox_queue SET due = $1 WHERE seq = $2 AND state = $3 AND due = $4`
	due := p.cfg.Now().Add(restUnread).UnixMilli()
	if err := one(tx.ExecContext(ctx, text, due, c.seq, string(c.state), c.due)); err != nil {
		return err
	}
	p.log.WarnContext(ctx, "a reaction waits for another release, which has queued it, for this one can't read its event",
		"id", c.ev.ID, "type", c.ev.Type, "key", c.ev.Key, "after", restUnread)
	return nil
}
