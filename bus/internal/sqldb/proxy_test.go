package sqldb

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// What a proxy does when it sees a COMMIT.
const (
	pass      int32 = iota
	cutBefore       // the server never gets it
	cutAfter        // the server has answered, and the client doesn't hear it
	hold            // the answer waits until it is let go
)

// proxy stands between the writer and the server, for what can't be asked of either: to break at one moment.
type proxy struct {
	listener net.Listener
	server   string
	mode     atomic.Int32
	seen     chan struct{} // a COMMIT was held
	let      chan struct{} // closed to let it go
	all      sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

// throughProxy is the schema behind a proxy.
func throughProxy(t testing.TB) (*schema, *proxy) {
	t.Helper()
	s := newSchema(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, server: s.url.Host, seen: make(chan struct{}, 1), let: make(chan struct{})}
	p.all.Go(p.accept)
	t.Cleanup(p.close)
	behind := *s.url
	behind.Host = l.Addr().String()
	return &schema{url: &behind, name: s.name, admin: s.admin}, p
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		var committing atomic.Bool
		p.all.Go(func() { p.up(client, server, &committing) })
		p.all.Go(func() { p.down(client, server, &committing) })
	}
}

// up carries what the client says.
func (p *proxy) up(client, server net.Conn, committing *atomic.Bool) {
	defer server.Close()
	defer client.Close()
	buf := make([]byte, 1<<16)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if bytes.Contains(buf[:n], []byte("commit\x00")) && p.mode.Load() != pass {
			if p.mode.Load() == cutBefore {
				return
			}
			committing.Store(true)
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// down carries what the server says.
func (p *proxy) down(client, server net.Conn, committing *atomic.Bool) {
	defer server.Close()
	defer client.Close()
	buf := make([]byte, 1<<16)
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		if committing.CompareAndSwap(true, false) {
			if p.mode.Load() == cutAfter {
				return
			}
			p.seen <- struct{}{}
			<-p.let
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (p *proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.all.Wait()
}
