package importer

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
)

// errForeign is of a --door where something else than a write door listens.
var errForeign = errors.New("what answers there speaks no HTTP: is --door the address of a write door? That of gRPC is another")

// dialer makes connections for an [http.Transport].
type dialer = func(ctx context.Context, network, address string) (net.Conn, error)

// listening looks at how the other side of each connection begins, and sets foreign where that isn't HTTP. A gRPC server
// speaks first, and net/http would print to standard error what it said, and have it tried again.
func listening(dial dialer, foreign *atomic.Bool) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &listener{Conn: conn, foreign: foreign}, nil
	}
}

type listener struct {
	net.Conn
	foreign *atomic.Bool
	begun   bool // only the transport's one reader uses it
}

// Read reads as the connection does, unless what comes first is no answer of HTTP/1.
func (l *listener) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 && !l.begun {
		l.begun = true
		if p[0] != 'H' { // of "HTTP/1.1 201 Created"
			l.foreign.Store(true)
			return 0, errForeign
		}
	}
	return n, err
}
