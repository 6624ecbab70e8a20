package service_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	mailerv1 "github.com/tidings-dev/tidings/gen/mailer/v1"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// realSMTP is the address of the server that `.ci/real up smtp` has started, and the folder of the mails that it took.
func realSMTP(t *testing.T) (address, folder string) {
	t.Helper()
	address = os.Getenv("TIDINGS_TEST_SMTP")
	if address == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("TIDINGS_TEST_SMTP is not set")
		}
		t.Skip("needs a mail server: eval \"$(.ci/real up smtp)\"")
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return address, filepath.Join(filepath.Dir(u.Query().Get("ca.file")), "smtp", "mail", "new")
}

// delivered finds the mail of an event in the folder.
func delivered(t *testing.T, folder string, e bus.Event) (text string) {
	t.Helper()
	servicetest.Await(t, servicetest.Soon, 20*time.Millisecond, "the mail of "+e.ID+" is delivered", func() (bool, any) {
		files, err := filepath.Glob(filepath.Join(folder, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), "<"+e.ID+"@") {
				text = string(b)
			}
		}
		return text != "", fmt.Sprint(len(files), " mails of others")
	})
	return text
}

func TestOnARealServer(t *testing.T) {
	address, folder := realSMTP(t)
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	cfg.SMTP = address
	r := start(t, rec, cfg)
	own := servicetest.NewID() // the server greylists an address once
	to := func(name string) string { return name + "-" + own + "@example.com" }
	events := map[string]bus.Event{}
	for _, name := range []string{"grey", "full", "nobody", "refused", "ada", "jürgen"} {
		events[name] = created(t, to(name), "Ada Łovelace")
		servicetest.Publish(t, rec, events[name])
	}
	for name, want := range map[string]struct {
		state    mailerv1.Message_State
		attempts int32 // at least
		words    string
	}{
		"nobody":  {mailerv1.Message_STATE_DEAD, 1, "550 5.1.1 No such user here"},
		"refused": {mailerv1.Message_STATE_DEAD, 1, "554 5.6.0 The mail was refused"},
		"full":    {mailerv1.Message_STATE_RETRYING, 1, "452 4.2.2 Mailbox full"},
		"ada":     {mailerv1.Message_STATE_SENT, 1, ""},
		"jürgen":  {mailerv1.Message_STATE_SENT, 1, ""},
		"grey":    {mailerv1.Message_STATE_SENT, 2, ""},
	} {
		m := r.becomes(to(name), want.state)
		if m.GetAttempts() < want.attempts || !strings.Contains(m.GetLastError(), want.words) {
			t.Errorf("%s: message %v; want %q after %d attempts", name, m, want.words, want.attempts)
		}
	}
	for _, name := range []string{"ada", "jürgen", "grey"} {
		m, body := read(t, delivered(t, folder, events[name]))
		if m.Header.Get("Auto-Submitted") != "auto-generated" || !strings.Contains(body, "Dear Ada Łovelace,") {
			t.Errorf("%s: %v\n%s", name, m.Header, body)
		}
	}
}

func TestARealServerThatKnowsNoSuchPassword(t *testing.T) {
	address, _ := realSMTP(t)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Del("password.file")
	u.RawQuery = q.Encode()
	t.Setenv("TIDINGS_SMTP_PASSWORD", "wrong")
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	cfg.SMTP = u.String()
	r := start(t, rec, cfg)
	servicetest.Publish(t, rec, created(t, "ada@example.com", "Ada"))
	if m := r.becomes("ada@example.com", mailerv1.Message_STATE_RETRYING); !strings.Contains(m.GetLastError(), "authentication: 535") {
		t.Errorf("message %v, want the server's 535", m)
	}
}
