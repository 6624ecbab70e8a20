package inbox

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// A position that is put back behind the bus is found at the next delivery of its partition. Where none comes, because
// the log is read to its end, nobody would find it: so the rows are looked at, too, and the subscription is begun again
// where one stays behind.

// places are the offsets from which the bus reads on, by what it was told, or has had taken in.
type places struct {
	mu sync.Mutex
	at map[topicPart]int64
}

// resumed notes where the bus was told to read on.
func (p *places) resumed(parts []bus.Partition, next []int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range parts {
		p.set(topicPart{parts[i].Topic, parts[i].Partition}, next[i])
	}
}

// taken notes what was taken in, but for those partitions that are to be read again.
func (p *places) taken(ranges []bus.Range, reread []bus.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range ranges {
		p.set(topicPart{r.Topic, r.Partition}, r.Next)
	}
	for _, r := range reread {
		delete(p.at, topicPart{r.Topic, r.Partition}) // until it is resumed
	}
}

func (p *places) set(at topicPart, next int64) {
	if p.at == nil {
		p.at = make(map[topicPart]int64)
	}
	p.at[at] = next
}

// now returns a copy.
func (p *places) now() map[topicPart]int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.at)
}

// clear forgets them, for a subscription that begins.
func (p *places) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = nil
}

// errPutBack ends a subscription, for another to begin at the positions as they are.
var errPutBack = errors.New("positions were put back")

// subscribe is subscribed until ctx ends.
func (in *Inbox) subscribe(ctx context.Context, b bus.Bus) error {
	for {
		in.places.clear()
		again, err := in.subscribeOnce(ctx, b)
		if !again || err != nil || ctx.Err() != nil {
			return err
		}
		in.log.InfoContext(ctx, "positions were put back, and are read from anew")
	}
}

// subscribeOnce is subscribed until ctx ends, or a position is found that was put back.
func (in *Inbox) subscribeOnce(ctx context.Context, b bus.Bus) (again bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	watching.Go(func() {
		if in.watchPositions(ctx) {
			cancel(errPutBack)
		}
	})
	err = b.Subscribe(ctx, in.subscription(), in.handle)
	again = errors.Is(context.Cause(ctx), errPutBack)
	cancel(nil)
	watching.Wait()
	return again, err
}

// watchPositions returns true once a position stays behind where the bus reads on, and false when ctx ends.
func (in *Inbox) watchPositions(ctx context.Context) (putBack bool) {
	ctx, found := context.WithCancel(ctx)
	defer found()
	var before map[topicPart]int64
	_ = in.loop(ctx, "positions could not be looked at", nil, func(ctx context.Context) (time.Time, error) {
		rows, err := in.nextOffsets(ctx)
		if err != nil {
			return time.Time{}, err
		}
		at := in.places.now()
		if isBehind(before, at, rows) {
			putBack = true
			found()
		}
		before = at
		return time.Time{}, nil
	})
	return putBack
}

// isBehind reports whether a position is absent, or lies behind where the bus reads on and has read on for a while:
// what is being stored, or resumed, at this moment is no reason to begin again.
func isBehind(before, now, rows map[topicPart]int64) bool {
	for at, next := range now {
		if was, ok := before[at]; !ok || was != next {
			continue
		}
		if row, ok := rows[at]; !ok || row < next {
			return true
		}
	}
	return false
}

// nextOffsets reads the offsets of the group's positions.
func (in *Inbox) nextOffsets(ctx context.Context) (map[topicPart]int64, error) {
	const text = `SELECT topic, part, next FROM tidings_inbox_position WHERE grp = $1`
	rows := make(map[topicPart]int64)
	return rows, query(ctx, in.cfg.DB, func(row scanner) error {
		var at topicPart
		var next int64
		err := row.Scan(&at.topic, &at.number, &next)
		rows[at] = next
		return err
	}, text, in.cfg.Group)
}
