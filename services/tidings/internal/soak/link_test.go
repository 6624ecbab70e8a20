package soak

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// soon bounds what should happen at once.
const soon = 60 * time.Second

// echo is a server that says every line again.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { defer c.Close(); _, _ = io.Copy(c, c) })
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return l.Addr().String()
}

func linkTo(t *testing.T, addr string) *link {
	t.Helper()
	k, err := newLink("test", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.close)
	return k
}

// caller is a client behind a link.
type caller struct {
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, k *link) caller {
	t.Helper()
	c, err := net.Dial("tcp", k.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return caller{c, bufio.NewReader(c)}
}

// says writes a line and waits for the answer, within a time.
func (c caller) says(line string, within time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(c, line); err != nil {
		return err
	}
	return c.hears(line)
}

func (c caller) hears(line string) error {
	got, err := c.in.ReadString('\n')
	if err == nil && got != line+"\n" {
		err = fmt.Errorf("got %q, want %q", got, line)
	}
	return err
}

func TestALinkCarriesSlowsAndBreaks(t *testing.T) {
	k := linkTo(t, echo(t))
	c := dial(t, k)
	if err := c.says("one", soon); err != nil {
		t.Fatal(err)
	}
	k.set(slowed)
	began := time.Now()
	if err := c.says("two", soon); err != nil || time.Since(began) < 2*slowness {
		t.Errorf("there and back on a slow link took %v: %v", time.Since(began), err)
	}
	k.set(broken)
	if err := c.says("three", soon); err == nil {
		t.Error("a broken link carries")
	}
	if other, err := net.Dial("tcp", k.addr()); err == nil {
		defer other.Close()
		if err := (caller{other, bufio.NewReader(other)}).says("four", soon); err == nil {
			t.Error("a broken link carries a new connection")
		}
	}
	k.set(whole)
	if err := dial(t, k).says("five", soon); err != nil {
		t.Error(err)
	}
}

func TestWhatASilentLinkHoldsBackArrivesLater(t *testing.T) {
	k := linkTo(t, echo(t))
	c := dial(t, k)
	if err := c.says("one", soon); err != nil {
		t.Fatal(err)
	}
	k.set(silent)
	if err := c.says("two", 50*time.Millisecond); err == nil {
		t.Fatal("a silent link carries")
	}
	k.set(whole)
	if err := c.SetDeadline(time.Now().Add(soon)); err != nil {
		t.Fatal(err)
	}
	if err := c.hears("two"); err != nil {
		t.Error(err)
	}
}

func TestALinkToNobodyResets(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	c, err := net.Dial("tcp", linkTo(t, addr).addr())
	if err != nil {
		return // it is reset that early
	}
	defer c.Close()
	if err := (caller{c, bufio.NewReader(c)}).says("one", soon); err == nil {
		t.Error("somebody has answered")
	}
}
