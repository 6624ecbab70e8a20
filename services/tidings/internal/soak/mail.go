package soak

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// Mail is a mail that the mail server has taken.
type Mail struct {
	ID   string // Message-ID without brackets
	To   string
	Text string // all of it, headers too
	By   string // the replica that has sent it
	At   time.Time
}

// mailServer takes mails and keeps them. It is safe for concurrent use.
type mailServer struct {
	addrs  map[string]string // by replica: each has an address of its own, which tells them apart
	server *smtp.Server
	served sync.WaitGroup

	mu      sync.Mutex
	mails   []Mail
	refuses bool
	refused int
}

// startMailServer listens on a free port of loopback for each replica.
func startMailServer(replicas ...string) (*mailServer, error) {
	m := &mailServer{addrs: map[string]string{}}
	names := map[string]string{} // by address
	m.server = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &mailSession{server: m, by: names[c.Conn().LocalAddr().String()]}, nil
	}))
	m.server.Domain, m.server.AllowInsecureAuth = "mail.soak.test", true
	m.server.ErrorLog = silence{}
	var listeners []net.Listener
	for _, name := range replicas {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("soak: mail server: %w", err)
		}
		listeners = append(listeners, l)
		m.addrs[name], names[l.Addr().String()] = l.Addr().String(), name
	}
	for _, l := range listeners {
		m.served.Go(func() { _ = m.server.Serve(l) }) // it ends when it is closed
	}
	return m, nil
}

// silence hears of every connection that the nemesis breaks.
type silence struct{}

// Printf says nothing.
func (silence) Printf(string, ...any) {}

// Println says nothing.
func (silence) Println(...any) {}

// close ends all sessions, and returns when nobody is served any more.
func (m *mailServer) close() {
	_ = m.server.Close() // connections that are open are ended
	m.served.Wait()
}

// refuse says whether mails are refused for now.
func (m *mailServer) refuse(yes bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuses = yes
}

// taken is every mail so far, and how many were refused.
func (m *mailServer) taken() (mails []Mail, refused int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Mail(nil), m.mails...), m.refused
}

// mailSession is one connection.
type mailSession struct {
	server *mailServer
	by, to string
}

// Mail takes any sender.
func (s *mailSession) Mail(string, *smtp.MailOptions) error { return nil }

// Rcpt takes any recipient.
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = to
	return nil
}

// answerTime is how late the mail server's yes is, so that now and then a fault comes between it and the mailer's note.
const answerTime = 40 * time.Millisecond

// Data keeps the mail and says so after a while, or refuses it for now.
func (s *mailSession) Data(r io.Reader) error {
	if err := s.take(r); err != nil {
		return err
	}
	rest(context.Background(), answerTime)
	return nil
}

// take keeps a mail, or refuses it. Once it is kept it counts as sent, whether the mailer hears of that or not: that is what
// makes a second one a repeat.
func (s *mailSession) take(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	header, err := textproto.NewReader(bufio.NewReader(strings.NewReader(string(text)))).ReadMIMEHeader()
	if err != nil {
		return fmt.Errorf("soak: a mail's header: %w", err)
	}
	m := s.server
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuses {
		m.refused++
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "not now"}
	}
	m.mails = append(m.mails, Mail{ID: strings.Trim(header.Get("Message-ID"), "<>"), To: s.to, By: s.by, Text: string(text), At: time.Now()})
	return nil
}

// Reset forgets what was begun.
func (s *mailSession) Reset() { s.to = "" }

// Logout ends the session.
func (s *mailSession) Logout() error { return nil }
