package inbox

import (
	"context"
	"math"

	"github.com/tidings-dev/tidings/bus"
)

// States of a parked row.
const (
	stateDead    = "dead"    // it can never be taken, or its attempts are spent
	stateUnknown = "unknown" // no route takes its type
)

// park keeps an event that could not be taken, with its bytes as they came. The rest goes on: its mark moves over it,
// so it will not come again by itself.
func (a *attempt) park(ctx context.Context, e *bus.Event, state string, why error) error {
	p := parkedEvent{ev: e, state: state, why: why.Error(), time: a.now.UnixMilli()}
	if unfit(e) == nil {
		have, err := a.haveBefore(ctx, e)
		if err != nil {
			return err
		}
		p.have = have
	}
	a.log.ErrorContext(ctx, "an event is parked", "state", state, "id", e.ID, "source", e.Source, "type", e.Type, "key", e.Key,
		"version", e.Version, "topic", e.At.Topic, "partition", e.At.Partition, "offset", e.At.Offset, "err", p.why)
	return p.store(ctx, a.tx, a.cfg.Group)
}

// haveBefore returns the last version of e's key that was applied before e.
func (a *attempt) haveBefore(ctx context.Context, e *bus.Event) (uint64, error) {
	source, err := a.sourceID(ctx, e.Source)
	if err != nil {
		return 0, err
	}
	if v := a.applied[sourceKey{source, e.Key}]; v > 0 {
		return v, nil
	}
	have, _, err := have(ctx, a.tx, a.cfg.Group, e.Source, e.Key)
	return have, err
}

// parkedEvent is a row of the parked table.
type parkedEvent struct {
	ev       *bus.Event
	state    string
	have     uint64
	reaction bool
	attempts int
	why      string
	time     int64 // milliseconds since 1970
}

func (p *parkedEvent) store(ctx context.Context, tx Tx, group string) error {
	const text = `INSERT INTO tidings_inbox_parked
		(grp, state, source, key, version, have, type, event_id, reaction, attempts, error, time, topic, log, part, off, raw)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) ON CONFLICT DO NOTHING`
	e, raw, version := p.ev, p.ev.Data, int64(0)
	if e.Err == nil {
		raw, version = e.AppendEnvelope(nil), int64(min(e.Version, math.MaxInt64))
	}
	if raw == nil {
		raw = []byte{} // a record without a value, such as a compaction's tombstone
	}
	_, err := tx.ExecContext(ctx, text, group, p.state, short8(e.Source), short8(e.Key), version, int64(p.have), short8(e.Type), short8(e.ID),
		b2i(p.reaction), p.attempts, text8(p.why), p.time, e.At.Topic, e.At.Log, e.At.Partition, e.At.Offset, raw)
	return err
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
