package service_test

import (
	"database/sql"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus/bustest"
	mailerv1 "github.com/tidings-dev/tidings/gen/mailer/v1"
	"github.com/tidings-dev/tidings/services/internal/lifecycle"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/mailer/internal/smtptest"
	"github.com/tidings-dev/tidings/services/mailer/service"
)

// smtpConfig is for a mailer that hands its mails to srv.
func smtpConfig(t *testing.T, srv *smtptest.Server, params ...string) service.Config {
	t.Helper()
	cfg := newConfig(t)
	cfg.SMTP = srv.URL(params...)
	return cfg
}

// becomes waits until the mail to an address is in a state, and returns it.
func (r *running) becomes(to string, state mailerv1.Message_State) *mailerv1.Message {
	r.t.Helper()
	var is *mailerv1.Message
	r.Within(servicetest.Soon, 10*time.Millisecond, "the mail to "+to+" as "+state.String(), func(lifecycle.Status) bool {
		for _, m := range r.list(&mailerv1.ListMessagesRequest{State: state}) {
			if m.GetTo() == to {
				is = m
			}
		}
		return is != nil
	})
	return is
}

// read takes a mail apart.
func read(t *testing.T, text string) (*mail.Message, string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		t.Fatalf("it is no mail: %v\n%s", err, text)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	if err != nil {
		t.Fatal(err)
	}
	return m, string(body)
}

func TestAMailGoesToTheMailServer(t *testing.T) {
	t.Setenv("TIDINGS_SMTP_PASSWORD", smtptest.Password)
	srv := smtptest.Start(t, smtptest.Answers{})
	rec, cfg := bustest.NewRecorder(), smtpConfig(t, srv)
	r := start(t, rec, cfg)
	e := created(t, "ada@example.com", "Ada Łovelace")
	servicetest.Publish(t, rec, e)
	servicetest.Publish(t, rec, e) // again
	r.CaughtUp()
	if m := r.becomes("ada@example.com", mailerv1.Message_STATE_SENT); m.GetAttempts() != 1 || m.GetLastError() != "" {
		t.Errorf("message %v", m)
	}
	mails := srv.Mails()
	if len(mails) != 1 || mails[0].From != "welcome@tidings.example" || mails[0].To != "ada@example.com" {
		t.Fatalf("taken %+v, want one mail", mails)
	}
	m, body := read(t, mails[0].Text)
	for name, want := range map[string]string{
		"Message-ID": "<" + e.ID + "@tidings.example>", "Auto-Submitted": "auto-generated", "Mime-Version": "1.0",
		"Content-Transfer-Encoding": "quoted-printable", "Content-Type": "text/plain; charset=UTF-8",
		"From": `"Tidings" <welcome@tidings.example>`, "Subject": "Welcome",
	} {
		if got := m.Header.Get(name); got != want {
			t.Errorf("%s: %s; want %s", name, got, want)
		}
	}
	if to, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("To")); err != nil || !strings.Contains(to, "Ada Łovelace") {
		t.Errorf("To: %s, %v", to, err)
	}
	if at, err := m.Header.Date(); err != nil || !at.Equal(e.Time.Truncate(time.Second)) {
		t.Errorf("Date: %v, %v; want that of the event, %v", at, err, e.Time)
	}
	if !strings.Contains(body, "Dear Ada Łovelace,") {
		t.Errorf("body %q", body)
	}
	if box := r.mailbox(); len(box) != 0 {
		t.Errorf("mailbox %v, want none", box)
	}
}

func TestTemporaryRefusalsAreRetriedAndPermanentOnesAreDead(t *testing.T) {
	var seen sync.Map
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true, To: func(to string) error {
		switch _, again := seen.LoadOrStore(to, true); {
		case to == "grey@example.com" && !again:
			return smtptest.Refuse(451, [3]int{4, 7, 1}, "Greylisted, come again")
		case to == "nobody@example.com":
			return smtptest.Refuse(550, [3]int{5, 1, 1}, "No such user here")
		}
		return nil
	}})
	rec := bustest.NewRecorder()
	r := start(t, rec, smtpConfig(t, srv))
	servicetest.Publish(t, rec, created(t, "grey@example.com", "G"), created(t, "nobody@example.com", "N"),
		created(t, "jürgen@example.com", "J"), created(t, "ada@example.com", "A"))
	grey := r.becomes("grey@example.com", mailerv1.Message_STATE_RETRYING)
	if !strings.Contains(grey.GetLastError(), "451 4.7.1 Greylisted, come again") || grey.GetNextAttemptTime() == nil {
		t.Errorf("message %v; want the server's words, and when it is tried next", grey)
	}
	nobody := r.becomes("nobody@example.com", mailerv1.Message_STATE_DEAD)
	if !strings.Contains(nobody.GetLastError(), "550 5.1.1 No such user here") || nobody.GetAttempts() != 1 {
		t.Errorf("message %v; want the server's words, and one attempt", nobody)
	}
	if m := r.becomes("jürgen@example.com", mailerv1.Message_STATE_DEAD); !strings.Contains(m.GetLastError(), "SMTPUTF8") {
		t.Errorf("message %v", m)
	}
	r.becomes("ada@example.com", mailerv1.Message_STATE_SENT)
	if m := r.becomes("grey@example.com", mailerv1.Message_STATE_SENT); m.GetAttempts() != 2 {
		t.Errorf("message %v, want a second attempt that was the last", m)
	}
}

// What the server has against us kills no mail: once it is mended, all go out.
func TestAWrongPasswordKillsNoMail(t *testing.T) {
	srv := smtptest.Start(t, smtptest.Answers{})
	rec, cfg := bustest.NewRecorder(), smtpConfig(t, srv)
	t.Setenv("TIDINGS_SMTP_PASSWORD", "wrong")
	r := start(t, rec, cfg)
	const n = 20
	for range n {
		servicetest.Publish(t, rec, created(t, "ada@example.com", "Ada"))
	}
	r.Until("all mails being retried", func(lifecycle.Status) bool {
		return len(r.list(&mailerv1.ListMessagesRequest{State: mailerv1.Message_STATE_RETRYING})) == n
	})
	if m := r.becomes("ada@example.com", mailerv1.Message_STATE_RETRYING); !strings.Contains(m.GetLastError(), "535") {
		t.Errorf("message %v, want the server's words", m)
	}
	if s, err := r.Service.Status(t.Context()); err != nil || s.Dead != 0 || s.Queued != n {
		t.Errorf("status %+v, %v; want none dead", s, err)
	}
	r.Stop()
	t.Setenv("TIDINGS_SMTP_PASSWORD", smtptest.Password)
	r = start(t, rec, cfg)
	r.CaughtUp()
	if mails := srv.Mails(); len(mails) != n {
		t.Errorf("%d mails, want %d", len(mails), n)
	}
}

func TestAMailWhoseAnswerIsLostIsRepeatedUnderItsID(t *testing.T) {
	var taken atomic.Int32
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true, Taken: func(smtptest.Mail) error {
		if taken.Add(1) == 1 {
			return smtptest.ErrCut
		}
		return nil
	}})
	rec := bustest.NewRecorder()
	r := start(t, rec, smtpConfig(t, srv))
	e := created(t, "ada@example.com", "Ada")
	servicetest.Publish(t, rec, e)
	if m := r.becomes("ada@example.com", mailerv1.Message_STATE_SENT); m.GetAttempts() != 2 {
		t.Errorf("message %v, want two attempts", m)
	}
	twice(t, srv, e.ID)
}

// twice checks that the server has two mails of one event, which are the same.
func twice(t *testing.T, srv *smtptest.Server, id string) {
	t.Helper()
	mails := srv.Mails()
	if len(mails) != 2 {
		t.Fatalf("%d mails, want two", len(mails))
	}
	for _, sent := range mails {
		m, _ := read(t, sent.Text)
		if got := m.Header.Get("Message-ID"); got != "<"+id+"@tidings.example>" {
			t.Errorf("Message-ID: %s, want that of event %s", got, id)
		}
		if first, _ := read(t, mails[0].Text); m.Header.Get("Date") != first.Header.Get("Date") {
			t.Error("the dates differ")
		}
	}
}

func TestMailsWaitForAServerThatIsAway(t *testing.T) {
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true})
	srv.Stop()
	rec := bustest.NewRecorder()
	r := start(t, rec, smtpConfig(t, srv))
	servicetest.Publish(t, rec, created(t, "ada@example.com", "Ada"), created(t, "bob@example.com", "Bob"))
	r.becomes("ada@example.com", mailerv1.Message_STATE_RETRYING)
	r.becomes("bob@example.com", mailerv1.Message_STATE_RETRYING)
	if !r.Serving("") || !r.Serving("bus") {
		t.Error("the mail server's absence must not turn health")
	}
	srv.Start()
	r.CaughtUp()
	if mails := srv.Mails(); len(mails) != 2 {
		t.Errorf("taken %v, want both", mails)
	}
}

// The database as it is between "sending" and "sent" is what a killed process leaves: it is copied at that moment, and
// a mailer started on the copy.
func TestAMailCutShortByAKillIsRepeatedUnderItsID(t *testing.T) {
	servicetest.SQLiteOnly(t, "a file can be copied; the tests with processes kill one on Postgres")
	takenOnce, copied := make(chan struct{}), make(chan struct{})
	var taken atomic.Int32
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true, Taken: func(smtptest.Mail) error {
		if taken.Add(1) == 1 {
			close(takenOnce)
			<-copied
		}
		return nil
	}})
	release := sync.OnceFunc(func() { close(copied) })
	t.Cleanup(release)
	rec, cfg := bustest.NewRecorder(), smtpConfig(t, srv, "timeout", "2s") // and so a lease of four
	r := start(t, rec, cfg)
	e := created(t, "ada@example.com", "Ada")
	servicetest.Publish(t, rec, e)
	<-takenOnce
	left := filepath.Join(t.TempDir(), "left.db")
	copyDatabase(t, cfg.DB, left)
	release()
	r.becomes("ada@example.com", mailerv1.Message_STATE_SENT)
	r.Stop()

	cfg.DB = left
	r = start(t, rec, cfg)
	if m := r.list(&mailerv1.ListMessagesRequest{}); len(m) != 1 || m[0].GetState() != mailerv1.Message_STATE_SENDING {
		t.Fatalf("messages %v; want one that was being sent", m)
	}
	if m := r.becomes("ada@example.com", mailerv1.Message_STATE_SENT); m.GetAttempts() != 2 {
		t.Errorf("message %v, want two attempts", m)
	}
	twice(t, srv, e.ID)
}

// copyDatabase copies a SQLite file that is in use, as of one moment.
func copyDatabase(t *testing.T, from, to string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+from+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(t.Context(), `VACUUM INTO $1`, to); err != nil {
		t.Fatal(err)
	}
}

// A mail that is under way is given its time when the service stops, and isn't sent again after.
func TestAStopWaitsForTheMailInHand(t *testing.T) {
	takenOnce, stopping := make(chan struct{}), make(chan struct{})
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true, Taken: func(smtptest.Mail) error {
		close(takenOnce)
		<-stopping
		return nil
	}})
	rec, cfg := bustest.NewRecorder(), smtpConfig(t, srv)
	r := start(t, rec, cfg)
	servicetest.Publish(t, rec, created(t, "ada@example.com", "Ada"))
	<-takenOnce
	time.AfterFunc(50*time.Millisecond, func() { close(stopping) })
	r.Stop()
	r = start(t, rec, cfg)
	if m := r.list(&mailerv1.ListMessagesRequest{}); len(m) != 1 || m[0].GetState() != mailerv1.Message_STATE_SENT {
		t.Errorf("messages %v, want the one sent", m)
	}
	if mails := srv.Mails(); len(mails) != 1 {
		t.Errorf("%d mails, want one", len(mails))
	}
}

func TestConfigOfSMTPNamesTheFlagAndTheMend(t *testing.T) {
	const from = "Tidings <welcome@tidings.example>"
	for want, cfg := range map[string]service.Config{
		"--mailbox and --smtp exclude one another; pass one of them": {SMTP: "smtp://h", Mailbox: "box", MailFrom: from},
		"--smtp: it has to begin with smtp://":                       {SMTP: "mail.example.org:25", MailFrom: from},
		"--smtp: no password for \"me\": set TIDINGS_SMTP_PASSWORD":  {SMTP: "smtp://me@h", MailFrom: from},
		"--smtp: it holds a password":                                {SMTP: "smtp://me:geheim@h", MailFrom: from},
		"--mail-from \"wälcome@tidings.example\"":                    {SMTP: "smtp://h", MailFrom: "wälcome@tidings.example"},
		`--mail-from "\"ada lovelace\"@x.org" is not an address`:     {SMTP: "smtp://h", MailFrom: `"ada lovelace"@x.org`},
		`--mail-from "\" a\"@x.org" is not an address`:               {Mailbox: "box", MailFrom: `" a"@x.org`},
		`--mail-from "\"Łukasz`:                                      {Mailbox: "box", MailFrom: `"Łukasz \\ Nowak" <a@x.org>`},
	} {
		err := cfg.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("error %v, want %q in it", err, want)
		}
	}
	if err := (&service.Config{SMTP: "smtp://h", MailFrom: from}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestAMailThatIsNoneIsRefusedForGood(t *testing.T) {
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true, UTF8: true})
	rec := bustest.NewRecorder()
	r := start(t, rec, smtpConfig(t, srv))
	bad := []string{"", "no address", "Bob <bob@example.com>, victim@example.com", "a@example.com>\r\nRCPT TO:<victim@example.com", "a@example.com> SIZE=1"}
	for _, to := range bad {
		servicetest.Publish(t, rec, created(t, to, "Eve"))
	}
	servicetest.Publish(t, rec, created(t, "jürgen@example.com", "Jürgen\r\nBcc: victim@example.com"))
	if s := r.CaughtUp(); s.Dead != int64(len(bad)) {
		t.Errorf("status %+v, want %d dead", s, len(bad))
	}
	mails := srv.Mails()
	if len(mails) != 1 || mails[0].To != "jürgen@example.com" {
		t.Fatalf("taken %+v, want that of Jürgen", mails)
	}
	m, _ := read(t, mails[0].Text)
	if to, err := m.Header.AddressList("To"); err != nil || len(to) != 1 || to[0].Address != "jürgen@example.com" || m.Header.Get("Bcc") != "" {
		t.Errorf("header %v, %v", m.Header, err)
	}
}

// A server that is slow to answer must not have mails wait for a connection while their time runs: each would be given
// up, and sent again.
func TestNoMoreMailsAreBegunThanThereAreConnections(t *testing.T) {
	for _, connections := range []int{1, 9} {
		t.Run(fmt.Sprint(connections), func(t *testing.T) {
			inHand, release := make(chan struct{}, 12), make(chan struct{})
			srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true, Mail: func(smtptest.Mail) error {
				inHand <- struct{}{}
				<-release
				return nil
			}})
			goOn := sync.OnceFunc(func() { close(release) })
			t.Cleanup(goOn) // before the server's own end, which waits
			rec := bustest.NewRecorder()
			for i := range 12 {
				servicetest.Publish(t, rec, created(t, fmt.Sprintf("u%d@example.com", i), "U"))
			}
			r := start(t, rec, smtpConfig(t, srv, "connections", fmt.Sprint(connections)))
			r.Until("as many mails in the server's hands", func(lifecycle.Status) bool { return len(inHand) >= connections })
			if n := len(r.list(&mailerv1.ListMessagesRequest{State: mailerv1.Message_STATE_SENDING})); n != connections {
				t.Errorf("%d mails are being sent at once, want %d", n, connections)
			}
			goOn()
			r.CaughtUp()
			for _, m := range r.list(&mailerv1.ListMessagesRequest{}) {
				if m.GetAttempts() != 1 {
					t.Errorf("message %v, want one attempt", m)
				}
			}
			if n := len(srv.Mails()); n != 12 {
				t.Errorf("%d mails, want 12", n)
			}
		})
	}
}
