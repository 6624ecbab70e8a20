package embedded

import (
	"net"
	"sync"
)

// listener remembers its connections, so that they can be closed with the broker. The brokers by themselves leave
// them to the clients.
type listener struct {
	net.Listener
	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

func newListener(l net.Listener) *listener {
	return &listener{Listener: l, conns: make(map[net.Conn]struct{})}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errHungUp(c)
	}
	l.conns[c] = struct{}{}
	return &conn{Conn: c, l: l}, nil
}

func errHungUp(c net.Conn) error {
	_ = c.Close()
	return net.ErrClosed
}

// hangUp closes every connection, and each that is accepted from now on.
func (l *listener) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for c := range l.conns {
		_ = c.Close() // it may be closed already, by its client
	}
	clear(l.conns)
}

type conn struct {
	net.Conn
	l *listener
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.l.mu.Lock()
	delete(c.l.conns, c.Conn)
	c.l.mu.Unlock()
	return c.Conn.Close()
}
