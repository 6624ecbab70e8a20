package submission

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"
	"golang.org/x/net/idna"

	"github.com/tidings-dev/tidings/bus"
)

// session is a connection that is ready for a mail. One goroutine at a time uses it.
type session struct {
	conn     net.Conn // below TLS
	client   *smtp.Client
	extended bool      // it knows EHLO, and has told what it can do
	used     time.Time // when it was put back
}

// dial connects, within ctx, and goes as far as the settings want: TLS, then the password.
func dial(ctx context.Context, s *Settings) (*session, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, explain(stageConnect, err)
	}
	release := bound(ctx, conn)
	ready, err := open(ctx, conn, s)
	if !release() && err == nil {
		err = explain(stageConnect, context.Cause(ctx))
	}
	if err != nil {
		_ = conn.Close() // it is of no use, whatever its end says
		return nil, err
	}
	return ready, nil
}

// bound ends conn's reads and writes with ctx. release ends that, and reports whether ctx has left conn alone.
func bound(ctx context.Context, conn net.Conn) (release func() bool) {
	deadline, _ := ctx.Deadline()  // zero is none
	_ = conn.SetDeadline(deadline) // what can't be set on a broken connection is not needed either
	return context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
}

func open(ctx context.Context, conn net.Conn, s *Settings) (*session, error) {
	encrypted := s.policy == implicit
	over := conn
	if encrypted {
		secured := tls.Client(conn, s.tls)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, explain(stageTLS, err)
		}
		over = secured
	}
	client, err := smtp.NewClient(over, s.host)
	if err != nil {
		return nil, explain(stageGreeting, err)
	}
	extended, err := greet(client, s)
	if err != nil {
		return nil, explain(stageGreeting, err)
	}
	if s.policy == required || s.policy == opportunistic {
		if encrypted, err = startTLS(client, s); err != nil {
			return nil, explain(stageTLS, err)
		}
	}
	if s.user != "" {
		if err := authenticate(client, s, encrypted, conn.RemoteAddr()); err != nil {
			return nil, explain(stageAuth, err)
		}
	}
	return &session{conn: conn, client: client, extended: extended}, nil
}

// greet says EHLO. To a server that doesn't know it, it says HELO, and what that one can do stays unknown: extended is
// false. One that refuses EHLO for now is left, or it would be taken for less than it is: without TLS, without passwords.
func greet(client *smtp.Client, s *Settings) (extended bool, err error) {
	var first ehlo
	client.ErrorHandlerRegistry.RegisterHandler(s.host, "ehlo", &first)
	err = client.Hello(s.helo)
	if answer := (*textproto.Error)(nil); errors.As(first.failed, &answer) && answer.Code < 500 {
		return false, first.failed
	}
	return first.failed == nil, err
}

// ehlo keeps the error of the first greeting, which the client does not tell if the second one is taken.
type ehlo struct{ failed error }

// HandleError is called by the client, and changes nothing.
func (e *ehlo) HandleError(_, _ string, _ *textproto.Conn, err error) error {
	e.failed = err
	return err
}

// startTLS takes the connection to TLS if the server offers it; where it has to and doesn't, that is an error.
func startTLS(client *smtp.Client, s *Settings) (encrypted bool, err error) {
	if offered, _ := client.Extension("STARTTLS"); !offered {
		if s.policy == required {
			return false, fmt.Errorf("%s does not offer STARTTLS; it may be a server for smtps://, or pass %s=%s if it is to go unencrypted",
				s.addr, paramTLS, opportunistic)
		}
		return false, nil
	}
	return true, client.StartTLS(s.tls)
}

// mechanisms are the ways to show a password, the preferred first.
func mechanisms(s *Settings) []mechanism {
	return []mechanism{ // "true": whether it may be sent has been decided before
		{"PLAIN", func() smtp.Auth { return smtp.PlainAuth("", s.user, s.password, s.host, true) }},
		{"LOGIN", func() smtp.Auth { return smtp.LoginAuth(s.user, s.password, s.host, true) }},
		{"SCRAM-SHA-256", func() smtp.Auth { return smtp.ScramSHA256Auth(s.user, s.password) }},
		{"CRAM-MD5", func() smtp.Auth { return smtp.CRAMMD5Auth(s.user, s.password) }},
	}
}

type mechanism struct {
	name string
	auth func() smtp.Auth
}

// authenticate shows the password, if nobody on the way can read it.
func authenticate(client *smtp.Client, s *Settings, encrypted bool, peer net.Addr) error {
	if !encrypted && !isLoopback(peer) {
		return fmt.Errorf("%s offers no TLS, and the password is not sent without", s.addr)
	}
	_, list := client.Extension("AUTH")
	offered := strings.Fields(strings.ToUpper(list))
	for _, m := range mechanisms(s) {
		if slices.Contains(offered, m.name) {
			return discreet(client.Auth(m.auth()))
		}
	}
	switch {
	case len(offered) > 0:
		return fmt.Errorf("%s offers only %s, none of which is known here", s.addr, strings.Join(offered, ", "))
	case !encrypted:
		return fmt.Errorf("%s takes no password without TLS; pass %s=%s", s.addr, paramTLS, required)
	}
	return fmt.Errorf("%s takes no password; leave %q out of the address", s.addr, s.user)
}

// isLoopback goes by where a connection really leads to.
func isLoopback(peer net.Addr) bool {
	tcp, ok := peer.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// send hands one mail over, within ctx. reusable says whether the session is as it was before; if not, it is to be
// closed. begun says whether the server has answered anything: if not, the connection had ended before the mail.
func (s *session) send(ctx context.Context, m Mail) (reusable, begun bool, err error) {
	release := bound(ctx, s.conn)
	begun, err = s.transact(m)
	if err != nil {
		reusable = s.reset(err)
		err = late(ctx, err)
	} else {
		reusable = true
	}
	return release() && reusable, begun, err
}

// transact is the four commands of one mail.
func (s *session) transact(m Mail) (begun bool, err error) {
	m.To = ASCIIDomain(m.To)
	international := !isASCII(m.To)
	if offered, _ := s.client.Extension("SMTPUTF8"); international && !offered {
		err := fmt.Errorf("the mail server takes no addresses beyond ASCII (SMTPUTF8), and %.64q is one", m.To)
		if s.extended {
			err = bus.Permanent(err)
		}
		return true, err
	}
	s.client.SkipSMTPUTF8(!international) // or it would be asked for needlessly, and not every next server has it
	if err := s.client.Mail("<" + m.From + ">"); err != nil {
		err = explain(stageSender, err)
		answer := (*Refusal)(nil)
		return errors.As(err, &answer) && !answer.closing(), err // and the session ends: see reset
	}
	if err := s.client.Rcpt("<" + m.To + ">"); err != nil {
		return true, explain(stageRecipient, err)
	}
	w, err := s.client.Data()
	if err != nil {
		return true, explain(stageData, err)
	}
	if _, err := w.Write(m.Text); err != nil {
		return true, explain(stageData, err)
	}
	if err := w.Close(); err != nil {
		return true, explain(stageData, err)
	}
	return true, nil
}

// reset clears what is left of a mail that failed, and reports whether the session can go on. Where the server has not
// answered, or will close, it can't; nor where it has refused us as the sender, for that may be a limit of mails on one
// connection, which all further ones would meet.
func (s *session) reset(failed error) bool {
	answer := (*Refusal)(nil)
	answered := errors.As(failed, &answer)
	if answered && (answer.closing() || answer.Stage == string(stageSender)) || !answered && !bus.IsPermanent(failed) {
		return false
	}
	return s.client.Reset() == nil
}

// late adds to an error that ctx has brought about that it has.
func late(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil && !bus.IsPermanent(err) {
		return fmt.Errorf("%w (%w)", err, cause)
	}
	return err
}

// quit says goodbye, if the server listens until then, and closes the connection.
func (s *session) quit(until time.Time) {
	_ = s.conn.SetDeadline(until)
	_ = s.client.Quit() // nothing hangs on it
	_ = s.conn.Close()
}

// drop closes the connection in the middle of whatever it was in.
func (s *session) drop() { _ = s.conn.Close() }

// ASCIIDomain returns an address with its domain as every server takes it: "ada@xn--bcher-kva.example" for
// "ada@bücher.example". What it can't turn into that stays as it is, and so does what stands before the "@".
func ASCIIDomain(address string) string {
	at := strings.LastIndexByte(address, '@') + 1
	if at == 0 || isASCII(address[at:]) {
		return address
	}
	domain, err := idna.Lookup.ToASCII(address[at:])
	if err != nil {
		return address
	}
	return address[:at] + domain
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c > 127 })
}
