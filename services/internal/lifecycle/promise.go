package lifecycle

import (
	"context"
	"errors"

	"github.com/tidings-dev/tidings/bus"
)

// promise is what a bus promises, in the words of a [Status].
type promise struct {
	guarantees, without string
	keepsLog            bool
}

func promiseOf(b bus.Bus) promise {
	p := promise{keepsLog: KeepsLog(b)}
	p.guarantees, p.without = words(b.Guarantees())
	return p
}

// words says what a bus has, and what it lacks; "" for nothing lacking.
func words(has bus.Guarantees) (guarantees, without string) {
	if lacks := has.Missing(bus.All()); lacks != (bus.Guarantees{}) {
		without = lacks.String()
	}
	return has.String(), without
}

// KeepsLog reports whether b keeps what it was given, for who is down or new. That is less than being durable: a log
// whose broker acknowledges before it has stored can lose, and yet be read again. It waits for no broker.
func KeepsLog(b bus.Bus) bool {
	if b.Guarantees().Durable {
		return true
	}
	in, ok := b.(bus.Inspector)
	if !ok {
		return false
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel() // only whether there is anything to ask is asked, and the broker is not waited for
	_, err := in.Partitions(ended)
	return !errors.Is(err, errors.ErrUnsupported)
}

// fill puts p into a Status.
func (p promise) fill(s *Status) {
	s.Guarantees, s.Without, s.KeepsLog = p.guarantees, p.without, p.keepsLog
}
