package servicetest

import (
	"bytes"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// Cut says when a [Proxy] breaks a connection.
type Cut int

// The cuts.
const (
	BeforeCommit Cut = iota // the server never gets the COMMIT
	AfterCommit             // the server has committed, and the client doesn't hear it
)

// Proxy stands between a service and Postgres, to break the connection at the one moment that nobody can ask for.
type Proxy struct {
	// DSN is that of the schema, by way of the proxy.
	DSN string

	listener net.Listener
	server   string
	all      sync.WaitGroup

	mu      sync.Mutex
	cut     Cut
	left    int
	onCut   func()
	conns   []net.Conn
	started []string
}

// Started is the names of the parameters with which the last connection was started.
func (p *Proxy) Started() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started
}

// noteStart reads the first message of a client that asks for no TLS: length and version, four bytes each, then names and
// values, each with a zero byte behind it.
func (p *Proxy) noteStart(message []byte) {
	if len(message) < 9 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started = nil
	for i, part := range strings.Split(strings.TrimRight(string(message[8:]), "\x00"), "\x00") {
		if i%2 == 0 {
			p.started = append(p.started, part)
		}
	}
}

// NewProxy stands in front of the schema's server until the test ends.
func NewProxy(t testing.TB, s *Schema) *Proxy {
	t.Helper()
	u, err := url.Parse(s.DSN)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{listener: l, server: u.Host}
	u.Host = l.Addr().String()
	p.DSN = u.String()
	p.all.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Break cuts the connections of the next n commits. then, unless nil, is called at each cut, before the client learns
// of it: after a commit, when the server has made it.
func (p *Proxy) Break(cut Cut, n int, then func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.left, p.onCut = cut, n, then
}

// Left is how many of the cuts are still to come.
func (p *Proxy) Left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.left
}

// take reports whether the commit at hand is to be cut, how, and what to call.
func (p *Proxy) take() (cut Cut, then func(), yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 {
		return 0, nil, false
	}
	p.left--
	then = p.onCut
	if then == nil {
		then = func() {}
	}
	return p.cut, then, true
}

func (p *Proxy) accept() {
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
		cut := make(chan func(), 1) // what to call once the server has answered
		p.all.Go(func() { p.up(client, server, cut) })
		p.all.Go(func() { down(client, server, cut) })
	}
}

// up carries what the client says.
func (p *Proxy) up(client, server net.Conn, cutAfter chan<- func()) {
	defer server.Close()
	defer client.Close()
	buf := make([]byte, 1<<16)
	for first := true; ; first = false {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if first {
			p.noteStart(buf[:n])
		}
		if bytes.Contains(buf[:n], []byte("commit\x00")) {
			if cut, then, yes := p.take(); yes && cut == BeforeCommit {
				then()
				return
			} else if yes {
				cutAfter <- then
			}
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// down carries what the server says.
func down(client, server net.Conn, cutAfter <-chan func()) {
	defer server.Close()
	defer client.Close()
	buf := make([]byte, 1<<16)
	for {
		n, err := server.Read(buf)
		if err != nil {
			return
		}
		select {
		case then := <-cutAfter:
			then()
			return
		default:
		}
		if _, err := client.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (p *Proxy) close() {
	p.listener.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.all.Wait()
}
