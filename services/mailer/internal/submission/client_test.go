package submission

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/services/mailer/internal/smtptest"
)

func TestAMailArrivesAsItIs(t *testing.T) {
	t.Setenv(PasswordEnv, smtptest.Password)
	for name, answers := range map[string]smtptest.Answers{
		"STARTTLS": {}, "smtps": {Implicit: true}, "no TLS on loopback": {NoTLS: true}, "UTF-8 offered": {UTF8: true},
	} {
		t.Run(name, func(t *testing.T) {
			srv := smtptest.Start(t, answers)
			c := newClient(t, srv.URL())
			mustSend(t, c, "ada@example.com")
			m := mailTo("ada@example.com")
			want := smtptest.Mail{From: m.From, To: m.To, Text: string(m.Text)}
			if mails := srv.Mails(); len(mails) != 1 || mails[0] != want {
				t.Errorf("taken %+v, want %+v", mails, want)
			}
			if _, logins, _ := srv.Counts(); logins != 1 {
				t.Errorf("%d logins, want one", logins)
			}
		})
	}
}

func TestMailsShareAConnectionAndItIsClosedWhenIdle(t *testing.T) {
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true})
	c := newClient(t, srv.URL(), func(c *Client) { c.idle = 50 * time.Millisecond })
	var sending sync.WaitGroup
	for i := range 40 {
		sending.Go(func() {
			if err := send(t, c, fmt.Sprintf("u%d@example.com", i)); err != nil {
				t.Error(err)
			}
		})
	}
	sending.Wait()
	if connections, _, _ := srv.Counts(); connections != 1 || len(srv.Mails()) != 40 {
		t.Fatalf("%d mails on %d connections, want 40 on one", len(srv.Mails()), connections)
	}
	until(t, "the idle connection was closed", func() bool { return idle(c) == 0 })
	mustSend(t, c, "last@example.com")
	if connections, _, _ := srv.Counts(); connections != 2 {
		t.Errorf("%d connections, want a second one", connections)
	}
}

// idle counts the connections that are open and not in use.
func idle(c *Client) (n int) {
	for range cap(c.sessions) {
		s := <-c.sessions
		if s != nil {
			n++
		}
		c.sessions <- s
	}
	return n
}

func TestSeveralConnectionsWhereAskedFor(t *testing.T) {
	const n = 3
	var together sync.WaitGroup
	together.Add(n)
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true, Mail: func(smtptest.Mail) error {
		together.Done()
		together.Wait() // goes on only when n mails are under way at once
		return nil
	}})
	c := newClient(t, srv.URL("connections", fmt.Sprint(n)))
	var sending sync.WaitGroup
	for i := range n {
		sending.Go(func() {
			if err := send(t, c, fmt.Sprintf("u%d@example.com", i)); err != nil {
				t.Error(err)
			}
		})
	}
	sending.Wait()
}

// Nothing of the mail was with the server: it goes out at once, and once.
func TestAConnectionThatWasClosedMeanwhileIsReplaced(t *testing.T) {
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true})
	c := newClient(t, srv.URL())
	mustSend(t, c, "ada@example.com")
	srv.Stop()
	srv.Start()
	mustSend(t, c, "bob@example.com")
	if mails := srv.Mails(); len(mails) != 2 {
		t.Errorf("taken %v, want two mails", mails)
	}
}

func TestAConnectionThatIsClosedByAWordIsReplaced(t *testing.T) {
	var mails atomic.Int32
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true, From: func(string) error {
		if mails.Add(1) == 2 {
			return smtptest.Refuse(421, [3]int{4, 4, 2}, "that is enough for one connection")
		}
		return nil
	}})
	c := newClient(t, srv.URL())
	mustSend(t, c, "ada@example.com")
	mustSend(t, c, "bob@example.com")
	if connections, _, _ := srv.Counts(); connections != 2 {
		t.Errorf("%d connections, want two", connections)
	}
}

// Whether the mail was taken nobody knows: it is sent again, the same, and the one who gets both can tell. Not before it is
// known to have failed: that the connection was used before doesn't make it one that was closed meanwhile.
func TestAConnectionCutBeforeTheAnswerSendsTheMailAgain(t *testing.T) {
	var taken atomic.Int32
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true, Taken: func(smtptest.Mail) error {
		if taken.Add(1) == 2 {
			return smtptest.ErrCut
		}
		return nil
	}})
	c := newClient(t, srv.URL())
	mustSend(t, c, "bob@example.com")
	wantRetry(t, send(t, c, "ada@example.com"))
	mustSend(t, c, "ada@example.com")
	if mails := srv.Mails(); len(mails) != 3 || mails[1] != mails[2] {
		t.Errorf("taken %+v, want the last mail twice", mails)
	}
}

func TestAConnectionCutEarlierHandsNothingOver(t *testing.T) {
	cut := func(string) error { return smtptest.ErrCut }
	for name, answers := range map[string]smtptest.Answers{
		"EHLO": {Connect: func() error { return smtptest.ErrCut }}, "MAIL": {From: cut}, "RCPT": {To: cut},
		"text": {Mail: func(smtptest.Mail) error { return smtptest.ErrCut }},
	} {
		answers.NoTLS, answers.Open = true, true
		srv := smtptest.Start(t, answers)
		wantRetry(t, send(t, newClient(t, srv.URL()), "ada@example.com"))
		if mails := srv.Mails(); len(mails) != 0 {
			t.Errorf("%s: taken %v", name, mails)
		}
	}
}

func TestAServerThatIsAwayIsTriedAgainAndMailsGoOn(t *testing.T) {
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true})
	c := newClient(t, srv.URL())
	srv.Stop()
	wantRetry(t, send(t, c, "ada@example.com"))
	srv.Start()
	until(t, "the mail goes through", func() bool {
		err := send(t, c, "ada@example.com")
		if err != nil {
			wantRetry(t, err)
		}
		return err == nil
	})
}

func TestAnAddressBeyondASCIINeedsAServerThatTakesIt(t *testing.T) {
	const to = "jürgen@example.com"
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true})
	c := newClient(t, srv.URL())
	if err := send(t, c, to); !bus.IsPermanent(err) || !strings.Contains(err.Error(), "SMTPUTF8") {
		t.Errorf("error %v, want a permanent one", err)
	}
	mustSend(t, c, "ada@example.com")

	srv = smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true, UTF8: true})
	c = newClient(t, srv.URL())
	mustSend(t, c, to)
	mustSend(t, c, "ada@example.com")
	if mails := srv.Mails(); len(mails) != 2 || mails[0].To != to || !mails[0].UTF8 || mails[1].UTF8 {
		t.Errorf("taken %+v; want SMTPUTF8 for the first only", mails)
	}
}

// silent takes connections and never says a word.
func silent(t *testing.T) net.Listener {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lis.Close() })
	return lis
}

func TestASilentServerEndsWithTheContext(t *testing.T) {
	c := newClient(t, "smtp://"+silent(t).Addr().String())
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	began := time.Now()
	err := c.Send(ctx, mailTo("ada@example.com"))
	wantRetry(t, err)
	if took := time.Since(began); took > c.settings.Timeout/2 {
		t.Errorf("it took %v", took)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v doesn't say why", err)
	}
	if c.held() != nil {
		t.Error("a service that stops was held against the server")
	}
}

func TestAMailHasOneTimeForEverything(t *testing.T) {
	c := newClient(t, "smtp://"+silent(t).Addr().String()+"?timeout=1s")
	began := time.Now()
	var sending sync.WaitGroup
	for range 4 { // one waits for the server, the others for the connection
		sending.Go(func() {
			err := send(t, c, "ada@example.com")
			if err == nil || bus.IsPermanent(err) {
				t.Errorf("error %v, want one that is tried again", err)
			}
		})
	}
	sending.Wait()
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestRunMayBeCalledAgain(t *testing.T) {
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true})
	c := newClient(t, srv.URL())
	for range 2 {
		mustSend(t, c, "ada@example.com")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Run(ctx); err != nil || idle(c) != 0 {
			t.Errorf("Run: %v, and %d connections are left", err, idle(c))
		}
	}
}

// Servers that hang must not keep a service from stopping.
func TestRunEndsThoughServersSayNoGoodbye(t *testing.T) {
	const n = 10
	lis := silent(t)
	settings, err := Parse(fmt.Sprintf("smtp://%s?connections=%d", lis.Addr(), n))
	if err != nil {
		t.Fatal(err)
	}
	c := New(settings, slog.New(slog.DiscardHandler))
	for range n {
		<-c.sessions
		c.sessions <- greeted(t, lis, &settings)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	if err := c.Run(ctx); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > n*quitTimeout/2 {
		t.Errorf("it took %v", took)
	}
}

// greeted is a session with a server that has answered EHLO, and never says a word again.
func greeted(t *testing.T, lis net.Listener, settings *Settings) *session {
	t.Helper()
	var accepting sync.WaitGroup
	accepting.Go(func() {
		conn, err := lis.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, "220 hello\r\n250 hello\r\n"); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	s, err := dial(ctx, settings)
	accepting.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A mail whose time was used up by the wait for its turn says nothing about the server.
func TestAMailWithoutTimeLeftIsNotHeldAgainstTheServer(t *testing.T) {
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true})
	c := newClient(t, srv.URL())
	ended, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	if _, err := c.connect(ended); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want that of the time", err)
	}
	mustSend(t, c, "ada@example.com")
}
