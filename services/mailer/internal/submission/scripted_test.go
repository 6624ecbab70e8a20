package submission

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/services/mailer/internal/smtptest"
)

// scripted is a mail server that gives the answers of a test, for what no honest server says. It returns its address.
func scripted(t *testing.T, answer func(line string) string) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = lis.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			conn, err := lis.Accept()
			if err != nil {
				return
			}
			all.Go(func() { converse(conn, answer) })
		}
	})
	return "smtp://" + lis.Addr().String()
}

// converse answers line by line until the client leaves.
func converse(conn net.Conn, answer func(line string) string) {
	defer func() { _ = conn.Close() }()
	fmt.Fprint(conn, "220 at your service\r\n")
	text := false
	for in := bufio.NewScanner(conn); in.Scan(); {
		line := in.Text()
		if text && line != "." {
			continue
		}
		said := answer(line)
		text = strings.HasPrefix(said, "354")
		fmt.Fprint(conn, said+"\r\n")
	}
}

// yes is what a server says that takes everything.
func yes(line string) string {
	switch {
	case strings.HasPrefix(line, "EHLO"):
		return "250-here\r\n250 AUTH LOGIN PLAIN"
	case line == "DATA":
		return "354 go on"
	}
	return "250 ok"
}

func TestAnInternationalDomainNeedsNothingOfTheServer(t *testing.T) {
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true})
	mustSend(t, newClient(t, srv.URL()), "ada@bücher.example")
	if mails := srv.Mails(); len(mails) != 1 || mails[0].To != "ada@xn--bcher-kva.example" || mails[0].UTF8 {
		t.Errorf("taken %+v", mails)
	}
	for address, want := range map[string]string{
		"ada@Example.com": "ada@Example.com", "jürgen@bücher.example": "jürgen@xn--bcher-kva.example",
		"ada@BÜCHER.example": "ada@xn--bcher-kva.example", "ada@[::1]": "ada@[::1]", "ü": "ü", "a@ü>.example": "a@ü>.example", "": "",
	} {
		if got := ASCIIDomain(address); got != want {
			t.Errorf("%q became %q, want %q", address, got, want)
		}
	}
}

// What a server can do is known only from its answer to EHLO.
func TestWithoutAnAnswerToEHLONothingIsRefusedForGood(t *testing.T) {
	for no, at := range map[string]stage{"451 4.3.2 come again": stageGreeting, "502 not implemented": ""} {
		c := newClient(t, scripted(t, func(line string) string {
			if strings.HasPrefix(line, "EHLO") {
				return no
			}
			return yes(line)
		}))
		err := send(t, c, "jürgen@example.com")
		wantRetry(t, err)
		if r := (*Refusal)(nil); errors.As(err, &r) && r.Stage != string(at) || at != "" && r == nil {
			t.Errorf("%s: error %v, want one at %q", no, err, at)
		}
	}
	c := newClient(t, scripted(t, yes))
	if err := send(t, c, "jürgen@example.com"); !bus.IsPermanent(err) {
		t.Errorf("error %v, want a permanent one", err)
	}
}

// A server that repeats what it was told tells the password to whoever reads our errors.
func TestNoErrorHoldsThePassword(t *testing.T) {
	t.Setenv(PasswordEnv, smtptest.Password)
	secrets := []string{smtptest.Password}
	for _, clear := range []string{smtptest.Password, "\x00u\x00" + smtptest.Password} {
		secrets = append(secrets, base64.StdEncoding.EncodeToString([]byte(clear)))
	}
	for _, offered := range []string{"LOGIN", "PLAIN"} {
		for answer, want := range map[string]string{
			"500 5.5.1 Command unrecognized: %s": "the mail server refused authentication: 500 5.5.1",
			"535 %s":                             "the mail server refused authentication: 535",
			"334 %s":                             errNotUnderstood.Error(),
			"%s":                                 errNotUnderstood.Error(),
		} {
			c := newClient(t, strings.Replace(scripted(t, func(line string) string {
				switch {
				case strings.HasPrefix(line, "EHLO"):
					return "250-here\r\n250 AUTH " + offered
				case line == "AUTH LOGIN", line == "dQ==":
					return "334 " + base64.StdEncoding.EncodeToString([]byte("go on"))
				}
				return fmt.Sprintf(answer, strings.TrimPrefix(line, "AUTH PLAIN "))
			}), "smtp://", "smtp://u@", 1))
			err := send(t, c, "ada@example.com")
			wantRetry(t, err)
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %s: error %v, want %q in it", offered, answer, err, want)
			}
			for _, secret := range secrets {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%s: %s: error %v holds %q", offered, answer, err, secret)
				}
			}
		}
	}
}
