package redis_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	goredis "github.com/redis/go-redis/v9"
)

// server is a redis-server of a test's own, in a process of its own, to be killed, restarted and reconfigured.
type server struct {
	t    testing.TB
	addr string
	args []string
	cmd  *exec.Cmd
}

// startServer starts a redis-server on a free port. Arguments are as on its command line: "--maxclients", "100".
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("redis-server is not installed")
		}
		t.Skip("it needs a real server of its own: redis-server is not installed")
	}
	s := newServer(t, args...)
	s.start()
	return s
}

// newServer has an address, and doesn't run yet.
func newServer(t testing.TB, args ...string) *server {
	t.Helper()
	s := &server{t: t, addr: freeAddr(t), args: args}
	t.Cleanup(s.kill)
	return s
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (s *server) url() string { return "redis://" + s.addr }

// start returns when the server answers.
func (s *server) start() {
	s.t.Helper()
	_, port, _ := net.SplitHostPort(s.addr)
	s.cmd = exec.Command("redis-server", append([]string{
		"--bind", "127.0.0.1", "--port", port, "--dir", s.t.TempDir(), "--save", "", "--appendonly", "no",
	}, s.args...)...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, "the server to answer", func() bool {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			return false
		}
		defer c.Close()
		if _, err := c.Write([]byte("PING\r\n")); err != nil {
			return false
		}
		b := make([]byte, 1) // whatever the answer is
		_, err = c.Read(b)
		return err == nil
	})
}

// kill ends the server as a power cut does.
func (s *server) kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // it was killed
	s.cmd = nil
}

// do runs a command on the server.
func (s *server) do(args ...any) any {
	s.t.Helper()
	c := goredis.NewClient(&goredis.Options{Addr: s.addr, MaxRetries: -1, Protocol: 2})
	defer c.Close()
	v, err := c.Do(context.Background(), args...).Result()
	if err != nil {
		s.t.Fatalf("%v: %v", args, err)
	}
	return v
}

// calls is how often the server was given a command.
func (s *server) calls(command string) (n int) {
	s.t.Helper()
	stats, _ := s.do("INFO", "commandstats").(string)
	if _, after, ok := strings.Cut(stats, "cmdstat_"+command+":calls="); ok {
		_, _ = fmt.Sscanf(after, "%d", &n)
	}
	return n
}

// proxy stands between clients and a server, and can do to their connections what networks do.
type proxy struct {
	l      net.Listener
	target string
	loops  sync.WaitGroup
	answer atomic.Int64 // how many bytes of answers still pass before a connection is cut; negative is any number

	mu    sync.Mutex
	open  chan struct{} // closed while everything passes
	conns map[net.Conn]struct{}
	over  bool
}

func startProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return proxyOn(t, l, target)
}

// startTLSProxy ends TLS.
func startTLSProxy(t testing.TB, target string, cfg *tls.Config) *proxy {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: cfg.Certificates, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	return proxyOn(t, l, target)
}

func proxyOn(t testing.TB, l net.Listener, target string) *proxy {
	p := &proxy{l: l, target: target, open: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	p.answer.Store(-1)
	close(p.open)
	p.loops.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) url() string { return "redis://" + p.l.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		if !p.keep(client, server) {
			return
		}
		p.loops.Go(func() { p.pass(client, server, nil) })
		p.loops.Go(func() { p.pass(server, client, &p.answer) })
	}
}

func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		if p.over {
			c.Close()
		}
		p.conns[c] = struct{}{}
	}
	return !p.over
}

// pass hands on what comes from one side to the other, while the gate is open and budget lasts.
func (p *proxy) pass(from, to net.Conn, budget *atomic.Int64) {
	defer from.Close()
	defer to.Close()
	b := make([]byte, 4096)
	for {
		p.gate()
		n, err := from.Read(b)
		p.gate()
		if budget != nil && budget.Load() >= 0 {
			left := budget.Add(int64(-n))
			if left < 0 {
				budget.Store(-1) // the next connection is all right
				_, _ = to.Write(b[:int64(n)+left])
				// Only this half, and go on reading: what was written must not be lost with the connection.
				_ = to.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, from)
				return
			}
		}
		if _, writeErr := to.Write(b[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

// gate waits while the proxy is stalled.
func (p *proxy) gate() {
	p.mu.Lock()
	open := p.open
	p.mu.Unlock()
	<-open
}

// stall holds everything up; connections stay.
func (p *proxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = make(chan struct{})
}

// resume ends a stall, and what was held up passes.
func (p *proxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.open:
	default:
		close(p.open)
	}
}

// cut closes every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

func (p *proxy) close() {
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	_ = p.l.Close()
	p.cut()
	p.resume()
	p.loops.Wait()
}

// refuseNth serves what speaks just enough of the protocol to answer PUBLISH with 1, but the nth with an error.
func refuseNth(t testing.TB, addr string, nth int) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		n := 0
		for r := bufio.NewReader(c); ; {
			args, err := readCommand(r)
			if err != nil {
				return
			}
			answer := "+OK\r\n"
			switch args[0] {
			case "hello":
				answer = "-ERR unknown command\r\n" // as before version 6
			case "publish":
				if answer = ":1\r\n"; n == nth {
					answer = "-ERR this one not\r\n"
				}
				n++
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		served.Wait()
	})
}

// readCommand reads an array of strings.
func readCommand(r *bufio.Reader) ([]string, error) {
	n, err := readLength(r, '*')
	if err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		size, err := readLength(r, '$')
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		args[i] = string(b[:size])
	}
	return args, nil
}

func readLength(r *bufio.Reader, kind byte) (int, error) {
	line, err := r.ReadString('\n')
	if err != nil || len(line) < 3 || line[0] != kind {
		return 0, fmt.Errorf("%q: %w", line, io.ErrUnexpectedEOF)
	}
	return strconv.Atoi(line[1 : len(line)-2])
}
