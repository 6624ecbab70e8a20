package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// mode is what a link does to connections.
type mode int

const (
	whole  mode = iota // bytes go through
	broken             // connections are reset, and new ones too
	slowed             // every chunk waits for slowness
	silent             // bytes are held back, and nobody is told
)

// slowness is how late a chunk of bytes is on a link that is slowed.
const slowness = 120 * time.Millisecond

// link is a TCP proxy on loopback in front of one server, for one client. What it holds back while it is silent goes
// through when it is whole again, as on a network whose parts have lost each other. It is safe for concurrent use.
type link struct {
	name     string
	to       string // where it leads
	listener net.Listener
	all      sync.WaitGroup
	end      context.CancelFunc
	ctx      context.Context // ends with the link

	mu      sync.Mutex
	mode    mode
	changed chan struct{} // closed when mode changes
	conns   map[net.Conn]struct{}
}

// newLink listens on a free port, and leads to a server that need not be there yet.
func newLink(name, to string) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("soak: link %s: %w", name, err)
	}
	k := &link{name: name, to: to, listener: l, changed: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	k.ctx, k.end = context.WithCancel(context.Background())
	k.all.Go(k.accept)
	return k, nil
}

// addr is where the client is to connect.
func (k *link) addr() string { return k.listener.Addr().String() }

// set changes what the link does. A broken one resets the connections that it has.
func (k *link) set(m mode) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mode = m
	close(k.changed)
	k.changed = make(chan struct{})
	if m == broken {
		for c := range k.conns {
			reset(c)
		}
	}
}

// reset closes a connection so that the other side hears of an error, not of an end.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without, it is closed all the same
	}
	_ = c.Close()
}

// close ends all connections, and returns when they are gone.
func (k *link) close() {
	k.end()
	_ = k.listener.Close()
	k.set(broken)
	k.all.Wait()
}

// accept takes connections until the link is closed. Whether one is carried is decided as it comes, so a link that is broken
// answers like a server that is not there.
func (k *link) accept() {
	for {
		client, err := k.listener.Accept()
		if err != nil {
			return // closed; nothing else ends a listener on loopback
		}
		if k.hold(client) {
			k.all.Go(func() { k.serve(client) })
		}
	}
}

// hold remembers a connection, unless the link is broken: then it is reset.
func (k *link) hold(c net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mode == broken {
		reset(c)
		return false
	}
	k.conns[c] = struct{}{}
	return true
}

// drop ends a connection.
func (k *link) drop(c net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, c)
	_ = c.Close() // it may have been reset
}

// serve carries one connection, both ways.
func (k *link) serve(client net.Conn) {
	defer k.drop(client)
	server, err := new(net.Dialer).DialContext(k.ctx, "tcp", k.to)
	if err != nil {
		reset(client)
		return
	}
	if !k.hold(server) {
		return
	}
	defer k.drop(server)
	var both sync.WaitGroup
	both.Go(func() { k.carry(server, client) })
	both.Go(func() { k.carry(client, server) })
	both.Wait()
}

// carry copies what from says to to, as the link's mode wants it, until one of them ends; then both do.
func (k *link) carry(to, from net.Conn) {
	defer func() { _ = to.Close(); _ = from.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !k.pass() {
			return
		}
		if _, writeErr := to.Write(buf[:n]); err != nil || writeErr != nil {
			if err != nil && !errors.Is(err, io.EOF) {
				reset(to)
			}
			return
		}
	}
}

// pass waits until a chunk may go on, and reports whether it may at all.
func (k *link) pass() bool {
	for {
		k.mu.Lock()
		m, changed := k.mode, k.changed
		k.mu.Unlock()
		switch m {
		case whole:
			return true
		case broken:
			return false
		case slowed:
			late := time.NewTimer(slowness)
			defer late.Stop()
			select {
			case <-late.C:
			case <-changed: // and then at once
			}
			return k.ctx.Err() == nil
		default:
			select {
			case <-changed:
			case <-k.ctx.Done():
				return false
			}
		}
	}
}
