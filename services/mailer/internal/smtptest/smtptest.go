// Package smtptest runs a mail server inside a test: the real protocol on loopback, with STARTTLS, AUTH and a certificate
// of its own, which refuses what the test tells it to, or breaks off.
package smtptest

import (
	"errors"
	"io"
	"log"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// User and Password are those of everybody who may send.
const (
	User     = "tidings"
	Password = "geheim"
)

// ErrCut ends the connection without an answer, where a hook of [Answers] returns it.
var ErrCut = errors.New("the connection is cut")

// Refuse is the error of a hook that answers by this code, enhanced code and words.
func Refuse(code int, enhanced [3]int, words string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: words}
}

// Answers says what the server is like. A hook that is nil says yes; each may be called from several goroutines.
type Answers struct {
	NoTLS    bool // offer no STARTTLS
	Implicit bool // TLS from the first byte
	Open     bool // nobody has to show a password
	UTF8     bool // offer SMTPUTF8

	Connect func() error             // before EHLO is answered
	From    func(from string) error  // MAIL FROM
	To      func(to string) error    // RCPT TO
	Mail    func(m Mail) error       // after the text; a mail that is refused or cut counts as not taken
	Taken   func(m Mail) (cut error) // after the mail was taken: ErrCut keeps the yes from being heard
}

// Mail is one that the server took.
type Mail struct {
	From, To string
	UTF8     bool // asked for by the client
	Text     string
}

// Server is a mail server on loopback.
type Server struct {
	// CA is the file to trust, PEM.
	CA string
	// Addr is host:port, the same after a Stop and a Start.
	Addr string

	t       testing.TB
	answers Answers
	cert    *certificate

	mu          sync.Mutex
	running     *smtp.Server
	listener    net.Listener
	done        chan struct{} // closed when running has ended
	mails       []Mail
	connections int
	logins      int
	resets      int
}

// Start runs a server until the test ends.
func Start(t testing.TB, a Answers) *Server {
	t.Helper()
	s := &Server{t: t, answers: a, Addr: "127.0.0.1:0", cert: newCertificate(t)}
	s.CA = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(s.CA, s.cert.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Start lets it serve again after a Stop.
func (s *Server) Start() {
	s.t.Helper()
	lis, err := net.Listen("tcp", s.Addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Addr = lis.Addr().String()
	srv := smtp.NewServer(smtp.BackendFunc(s.newSession))
	srv.Domain, srv.EnableSMTPUTF8, srv.AllowInsecureAuth = "mail.tidings.test", s.answers.UTF8, s.answers.NoTLS
	srv.ErrorLog = log.New(io.Discard, "", 0) // it tells of every connection that a test cuts
	if s.answers.Implicit {
		lis = s.cert.listen(lis)
	} else if !s.answers.NoTLS {
		srv.TLSConfig = s.cert.config()
	}
	done := make(chan struct{})
	s.mu.Lock()
	s.running, s.listener, s.done = srv, lis, done
	s.mu.Unlock()
	go func() {
		defer close(done)
		_ = srv.Serve(lis) // ended by Stop
	}()
}

// Stop ends it, and every connection. It may be called again.
func (s *Server) Stop() {
	s.mu.Lock()
	srv, lis, done := s.running, s.listener, s.done
	s.mu.Unlock()
	_ = srv.Close() // closed before, where a test has stopped it
	_ = lis.Close() // which srv doesn't know of before it serves
	<-done
}

// URL is the address for --smtp, with parameters in pairs of name and value.
func (s *Server) URL(params ...string) string {
	u := url.URL{Scheme: "smtp", Host: s.Addr}
	if !s.answers.Open {
		u.User = url.User(User)
	}
	q := url.Values{}
	if s.answers.Implicit {
		u.Scheme = "smtps"
	} else if !s.answers.NoTLS {
		q.Set("tls", "required")
	}
	if !s.answers.NoTLS {
		q.Set("ca.file", s.CA)
	}
	for pair := range slices.Chunk(params, 2) {
		q.Set(pair[0], pair[1])
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// Mails returns those that were taken, in order.
func (s *Server) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

// Counts returns how many connections have said EHLO, how often a password was shown, right or wrong, and how often a
// mail was taken back or ended (RSET, and its like).
func (s *Server) Counts() (connections, logins, resets int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connections, s.logins, s.resets
}

func (s *Server) count(n *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*n++
}

// newSession is called at each EHLO; the one before STARTTLS doesn't count.
func (s *Server) newSession(c *smtp.Conn) (smtp.Session, error) {
	_, encrypted := c.TLSConnectionState()
	if encrypted || s.answers.NoTLS {
		s.count(&s.connections)
	}
	var err error
	if s.answers.Connect != nil {
		err = s.answers.Connect()
	}
	return &session{server: s, conn: c}, cutting(c, err)
}

// cutting ends the connection if err says so.
func cutting(c *smtp.Conn, err error) error {
	if errors.Is(err, ErrCut) {
		_ = c.Conn().Close()
	}
	return err
}

type session struct {
	server *Server
	conn   *smtp.Conn
	known  bool
	mail   Mail
}

// Reset ends a mail.
func (s *session) Reset() {
	s.server.count(&s.server.resets)
	s.mail = Mail{}
}

// Logout ends the connection.
func (s *session) Logout() error { return nil }

// AuthMechanisms are those of real servers.
func (s *session) AuthMechanisms() []string {
	if s.server.answers.Open {
		return nil
	}
	return []string{sasl.Plain}
}

// Auth checks a password.
func (s *session) Auth(string) (sasl.Server, error) {
	s.server.count(&s.server.logins)
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != User || password != Password {
			return smtp.ErrAuthFailed
		}
		s.known = true
		return nil
	}), nil
}

// Mail is MAIL FROM.
func (s *session) Mail(from string, opts *smtp.MailOptions) (err error) {
	if !s.known && !s.server.answers.Open {
		return Refuse(530, [3]int{5, 7, 0}, "Authentication required")
	}
	if s.server.answers.From != nil {
		err = s.server.answers.From(from)
	}
	s.mail = Mail{From: from, UTF8: opts.UTF8}
	return cutting(s.conn, err)
}

// Rcpt is RCPT TO.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) (err error) {
	if s.server.answers.To != nil {
		err = s.server.answers.To(to)
	}
	s.mail.To = to
	return cutting(s.conn, err)
}

// Data is the text, up to the yes.
func (s *session) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mail.Text = string(text)
	if s.server.answers.Mail != nil {
		if err := s.server.answers.Mail(s.mail); err != nil {
			return cutting(s.conn, err)
		}
	}
	s.server.mu.Lock()
	s.server.mails = append(s.server.mails, s.mail)
	s.server.mu.Unlock()
	if s.server.answers.Taken != nil {
		return cutting(s.conn, s.server.answers.Taken(s.mail))
	}
	return nil
}
