package lifecycle

import "github.com/tidings-dev/tidings/bus"

// promise is what a bus promises, in the words of a [Status].
type promise struct {
	guarantees, without string
	keepsLog            bool
}

func promiseOf(b bus.Bus) promise {
	p := promise{keepsLog: bus.KeepsLog(b)}
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

// fill puts p into a Status.
func (p promise) fill(s *Status) {
	s.Guarantees, s.Without, s.KeepsLog = p.guarantees, p.without, p.keepsLog
}
