package e2e

import (
	"io"
	"log"
	"net"
	"net/mail"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
)

// postOffice is a mail server on loopback that takes every mail and keeps count. It is safe for concurrent use.
type postOffice struct {
	addr string

	mu    sync.Mutex
	taken map[string][]string // by address: the Message-IDs, in the order of the mails
}

func openPostOffice(t *testing.T) *postOffice {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &postOffice{addr: lis.Addr().String(), taken: map[string][]string{}}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &clerk{office: p}, nil }))
	server.Domain, server.ErrorLog = "mail.tidings.test", log.New(io.Discard, "", 0) // clients are killed
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(lis) // until it is closed
	}()
	t.Cleanup(func() {
		_, _ = server.Close(), lis.Close() // nobody is there any more
		<-done
	})
	return p
}

// mails are the Message-IDs of the mails that an address was sent.
func (p *postOffice) mails(to string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.taken[to])
}

// clerk serves one connection.
type clerk struct {
	office *postOffice
	to     string
}

// Reset is RSET.
func (*clerk) Reset() {}

// Logout ends the connection.
func (*clerk) Logout() error { return nil }

// Mail is MAIL FROM.
func (*clerk) Mail(string, *smtp.MailOptions) error { return nil }

// Rcpt is RCPT TO.
func (c *clerk) Rcpt(to string, _ *smtp.RcptOptions) error {
	c.to = strings.Clone(to)
	return nil
}

// Data counts a mail once all of it has come; the client may still be killed before it hears the yes.
func (c *clerk) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err == nil {
		_, err = io.Copy(io.Discard, m.Body)
	}
	if err != nil {
		return err
	}
	c.office.mu.Lock()
	defer c.office.mu.Unlock()
	c.office.taken[c.to] = append(c.office.taken[c.to], m.Header.Get("Message-ID"))
	return nil
}
