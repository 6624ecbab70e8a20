package outbox

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// careless is a log that is not durable, as Kafka is where the leader alone acknowledges.
type careless struct{ *pubsub }

func (careless) Partitions(context.Context, ...string) ([]bus.Partition, error) { return nil, nil }

// A log has partitions, and positions that its readers count by, whatever it promises.
func TestALogThatIsNotDurableIsALogAllTheSame(t *testing.T) {
	inBubble(t, func(t *testing.T, o *Outbox, p *pubsub) {
		o.pace.batch = 100
		p.refuse(func(_ string, e bus.Event) error {
			if isDead(e.Key) {
				return errors.New("the partition is dead")
			}
			return nil
		})
		addKeys(t, o, topic, 1, keys("dead", 150)...)
		addKeys(t, o, topic, 1, keys("a", 50)...)
		relaying(t, o, careless{p})
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if n := len(p.events()); n != 50 {
			t.Errorf("%d of 50 events got past a partition that is dead", n)
		}
		p.refuse(nil)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		for _, e := range p.all() {
			if isBeat(e) || e.Seq != 0 || e.SeqLog != "" {
				t.Fatalf("%s %s has the number %d of %q", e.Type, e.ID, e.Seq, e.SeqLog)
			}
		}
		if n := len(p.events()); n != 200 || strings.Contains(logged(o), "their topic") {
			t.Errorf("%d of 200 events; logged:\n%s", n, logged(o))
		}
	}, WithStream(topic, "/things"))
}
