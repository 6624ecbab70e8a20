package submission

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/wneessen/go-mail/smtp"

	"github.com/tidings-dev/tidings/services/mailer/internal/smtptest"
)

// A server that is asked over and over with a wrong password locks the account; and no mail dies of it.
func TestAWrongPasswordIsShownNowAndThenOnly(t *testing.T) {
	t.Setenv(PasswordEnv, "wrong")
	srv := smtptest.Start(t, smtptest.Answers{})
	c := newClient(t, srv.URL())
	began := time.Now()
	for range 500 {
		err := send(t, c, "ada@example.com")
		wantRetry(t, err)
		if r := refusal(t, err); r.Code != 535 || r.Stage != string(stageAuth) {
			t.Fatalf("error %+v, want the server's 535", r)
		}
	}
	_, logins, _ := srv.Counts()
	if most := 2 + int(time.Since(began)/(firstHold/2)); logins == 0 || logins > most {
		t.Errorf("%d logins, want at most %d", logins, most)
	}
}

func TestWithoutATrustedServerNothingIsTold(t *testing.T) {
	t.Setenv(PasswordEnv, smtptest.Password)
	other := smtptest.Start(t, smtptest.Answers{})
	for name, test := range map[string]struct {
		answers smtptest.Answers
		params  []string
		want    string
	}{
		"STARTTLS stripped":      {smtptest.Answers{NoTLS: true}, []string{"tls", "required"}, "does not offer STARTTLS"},
		"unknown authority":      {smtptest.Answers{}, []string{"ca.file", other.CA}, "certificate"},
		"unknown, opportunistic": {smtptest.Answers{}, []string{"ca.file", other.CA, "tls", "opportunistic"}, "certificate"},
		"unknown, smtps":         {smtptest.Answers{Implicit: true}, []string{"ca.file", other.CA}, "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := smtptest.Start(t, test.answers)
			err := send(t, newClient(t, srv.URL(test.params...)), "ada@example.com")
			wantRetry(t, err)
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q in it", err, test.want)
			}
			if _, logins, _ := srv.Counts(); logins != 0 || len(srv.Mails()) != 0 {
				t.Errorf("%d logins, mails %v; want none", logins, srv.Mails())
			}
		})
	}
}

func TestOpportunisticTakesWhatIsOffered(t *testing.T) {
	t.Setenv(PasswordEnv, smtptest.Password)
	for _, answers := range []smtptest.Answers{{}, {NoTLS: true}} {
		srv := smtptest.Start(t, answers)
		c := newClient(t, srv.URL("tls", "opportunistic"))
		mustSend(t, c, "ada@example.com")
		s := <-c.sessions
		_, err := s.client.GetTLSConnectionState()
		if encrypted := err == nil; encrypted == answers.NoTLS {
			t.Errorf("server without TLS %t: encrypted %t", answers.NoTLS, encrypted)
		}
		c.sessions <- s
	}
}

// By the address that a connection leads to, whatever its host is called.
func TestOffThisMachineThePasswordIsNotSentWithoutTLS(t *testing.T) {
	t.Setenv(PasswordEnv, smtptest.Password)
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true})
	s, err := Parse(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", srv.Addr)
	if err != nil {
		t.Fatal(err)
	}
	client, err := smtp.NewClient(conn, s.host)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Quit() }()
	away := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 587}
	if err := authenticate(client, &s, false, away); err == nil || !strings.Contains(err.Error(), "TLS") {
		t.Errorf("error %v, want one that speaks of TLS", err)
	}
	if _, logins, _ := srv.Counts(); logins != 0 {
		t.Fatalf("%d logins", logins)
	}
	if err := authenticate(client, &s, false, conn.RemoteAddr()); err != nil {
		t.Errorf("on loopback: %v", err)
	}
}

func TestAServerThatTakesNoPasswordIsToldOf(t *testing.T) {
	t.Setenv(PasswordEnv, smtptest.Password)
	for want, answers := range map[string]smtptest.Answers{
		"leave \"me\" out":  {Open: true},
		"pass tls=required": {}, // offers AUTH behind STARTTLS only
	} {
		srv := smtptest.Start(t, answers)
		address := "smtp://me@" + srv.Addr
		if answers.Open {
			address += "?tls=required&ca.file=" + srv.CA
		}
		err := send(t, newClient(t, address), "ada@example.com")
		wantRetry(t, err)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
}
