package submission

import (
	"errors"
	"fmt"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/services/mailer/internal/smtptest"
)

// no is the server's answer in a test of refusals.
type no struct {
	at       stage
	code     int
	enhanced [3]int
}

// refusing is a server that gives the answer that a recipient stands for.
func refusing(t *testing.T, answers map[string]no) *smtptest.Server {
	hook := func(at stage, to string) error {
		if n, ok := answers[to]; ok && n.at == at {
			return smtptest.Refuse(n.code, n.enhanced, "so be it")
		}
		return nil
	}
	return smtptest.Start(t, smtptest.Answers{
		NoTLS: true, Open: true,
		From: func(from string) error { return hook(stageSender, from) },
		To:   func(to string) error { return hook(stageRecipient, to) },
		Mail: func(m smtptest.Mail) error { return hook(stageData, m.To) },
	})
}

func TestWhichRefusalsAreForGood(t *testing.T) {
	tests := []struct {
		no
		permanent bool
	}{
		{no{stageRecipient, 450, [3]int{4, 2, 0}}, false},
		{no{stageRecipient, 451, [3]int{4, 7, 1}}, false}, // greylisting
		{no{stageRecipient, 452, [3]int{4, 2, 2}}, false}, // mailbox full
		{no{stageRecipient, 550, [3]int{5, 1, 1}}, true},  // no such user
		{no{stageRecipient, 550, [3]int{5, 0, 0}}, true},
		{no{stageRecipient, 550, [3]int{5, 5, 0}}, true}, // what one large provider says of an unknown mailbox
		{no{stageRecipient, 553, [3]int{5, 1, 3}}, true}, // bad address
		{no{stageRecipient, 556, [3]int{5, 1, 10}}, true},
		{no{stageData, 451, [3]int{4, 3, 0}}, false},
		{no{stageData, 552, [3]int{5, 3, 4}}, true}, // too large
		{no{stageData, 554, [3]int{5, 6, 0}}, true}, // content
		// About us.
		{no{stageSender, 550, [3]int{5, 1, 1}}, false},
		{no{stageSender, 553, [3]int{5, 1, 8}}, false},
		{no{stageRecipient, 502, [3]int{5, 5, 1}}, false},
		{no{stageRecipient, 503, [3]int{5, 5, 1}}, false},
		{no{stageRecipient, 504, [3]int{5, 5, 2}}, false}, // the name that we greeted with
		{no{stageRecipient, 530, [3]int{5, 7, 0}}, false},
		{no{stageRecipient, 535, [3]int{5, 0, 0}}, false},
		{no{stageRecipient, 550, [3]int{5, 1, 8}}, false}, // the sender's domain
		{no{stageRecipient, 554, [3]int{5, 7, 1}}, false}, // relay access denied
		{no{stageData, 550, [3]int{5, 7, 26}}, false},     // SPF, DKIM
	}
	answers := map[string]no{}
	for _, tt := range tests {
		answers[address(tt.no)] = tt.no
	}
	srv := refusing(t, answers)
	c := newClient(t, srv.URL())
	for _, tt := range tests {
		m := mailTo(address(tt.no))
		if tt.at == stageSender {
			m.From = address(tt.no)
		}
		err := c.Send(t.Context(), m)
		if r := refusal(t, err); r.Code != tt.code || !strings.HasSuffix(r.Words, "so be it") || r.Stage != string(tt.at) {
			t.Errorf("%v: %+v; want the server's answer", tt.no, r)
		}
		if bus.IsPermanent(err) != tt.permanent {
			t.Errorf("%v: %v is permanent: %t; want %t", tt.no, err, !tt.permanent, tt.permanent)
		}
	}
	mustSend(t, c, "ada@example.com")
	if mails := srv.Mails(); len(mails) != 1 || mails[0].To != "ada@example.com" {
		t.Errorf("taken %v, want the last one", mails)
	}
	if connections, _, resets := srv.Counts(); connections != 3 || resets < len(tests) {
		t.Errorf("%d connections and %d RSETs; want a new one after each refusal of the sender, and else a RSET", connections, resets)
	}
}

// Some servers take only so many mails on one connection, and say so at the next.
func TestALimitOfMailsOnAConnectionIsMetOnce(t *testing.T) {
	var mails atomic.Int32
	srv := smtptest.Start(t, smtptest.Answers{
		NoTLS: true, Open: true,
		Connect: func() error { mails.Store(0); return nil },
		From: func(string) error {
			if mails.Add(1) > 3 {
				return smtptest.Refuse(450, [3]int{4, 7, 1}, "Too many messages on this connection")
			}
			return nil
		},
	})
	c := newClient(t, srv.URL())
	for i := range 12 {
		if err := send(t, c, "ada@example.com"); (err == nil) != (i%4 != 3) {
			t.Errorf("mail %d: %v", i, err)
		}
	}
}

// address is one that stands for an answer.
func address(n no) string {
	name := strings.ReplaceAll(string(n.at), " ", "-")
	return fmt.Sprintf("%s-%d-%d-%d@example.com", name, n.code, n.enhanced[1], n.enhanced[2])
}

// A server that says 421 closes the connection, whatever it was asked.
func TestAServerThatCloses(t *testing.T) {
	for _, at := range []stage{stageRecipient, stageData} {
		srv := refusing(t, map[string]no{"bob@example.com": {at, 421, [3]int{4, 3, 2}}})
		c := newClient(t, srv.URL())
		wantRetry(t, send(t, c, "bob@example.com"))
		mustSend(t, c, "ada@example.com")
		if connections, _, _ := srv.Counts(); connections != 2 {
			t.Errorf("%s: %d connections, want a new one", at, connections)
		}
	}
}

func TestExplainTellsWhatTheConnectionWasAt(t *testing.T) {
	broken := errors.New("broken pipe")
	if err := explain(stageData, broken); !errors.Is(err, broken) || !strings.Contains(err.Error(), "the mail") {
		t.Errorf("%v", err)
	}
}

// What a server says goes into logs and databases, some of which take no zero bytes.
func TestAnAnswerBecomesOnePlainLine(t *testing.T) {
	for _, answer := range []string{"5.1.1 no\x00such\r\n5.1.1 user\x1b[31m", strings.Repeat("ü", 400), "\xff\xfe no", ""} {
		err := explain(stageRecipient, &textproto.Error{Code: 550, Msg: answer})
		words := refusal(t, err).Words
		if len(words) > longestAnswer || !utf8.ValidString(words) || strings.ContainsAny(words, "\x00\r\n\x1b") {
			t.Errorf("%q became %q", answer, words)
		}
	}
	if got := plain("5.1.1 no such\n5.1.1 user"); got != "5.1.1 no such 5.1.1 user" {
		t.Errorf("got %q", got)
	}
}

// Servers without enhanced codes say by words, if at all, whom they have something against: these are those of Exim,
// qmail, Postfix and others.
func TestWithoutACodeOfItsOwnTheWordsOfARefusalCount(t *testing.T) {
	forGood := []string{
		"550 No Such User Here", "550 Unrouteable address", "550 <author@example.com>: unknown user", "553 sorry, no mailbox here by that name",
		"550 relay@example.com... User unknown", "550 #5.1.1 unknown user", "550 5.0.0 no such user", "550 sorry, no mailbox (#5.1.1)",
		"552 5.2.2 full", "556 5.1.10 null MX",
	}
	notForGood := []string{
		"550 relay not permitted", "550 authentication required", "550 Not authorised", "550 Sender verify failed", "550 Verification failed for <ada@example.com>",
		"550 Administrative prohibition", "550 Rejected: listed at sbl.example", "550 Your IP is blocked", "550 You have exceeded your daily sending limit",
		"550 Access denied", "550 message looks like spam", "550 rejected for policy reasons", "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
		"553 that domain isn't in my list of allowed rcpthosts", "550 #5.7.1 Your access to submit messages has been rejected",
		"550 5.0.0 Relaying denied", "554 5.5.0 bad HELO", "554 <bob@example.com>: Relay access denied", "554 Transaction failed",
		"551 User not local; we do not relay", "551 5.1.6 moved", "571 Relaying denied", "571 5.1.1 no", "550 5.4.5 Daily user sending limit exceeded",
		"550 5.1.0 sender rejected", "554 5.3.2 not accepting mail", "550 4.7.1 come again", "500 unrecognized command", "501 syntax", "552 too large", "550 5.7.133 x",
	}
	for permanent, answers := range map[bool][]string{true: forGood, false: notForGood} {
		for _, answer := range answers {
			var code int
			if _, err := fmt.Sscan(answer[:3], &code); err != nil {
				t.Fatal(err)
			}
			for _, at := range []stage{stageRecipient, stageData} {
				err := explain(at, &textproto.Error{Code: code, Msg: answer[4:]})
				if bus.IsPermanent(err) != permanent {
					t.Errorf("%s: %v is permanent: %t; want %t", at, err, !permanent, permanent)
				}
			}
		}
	}
}
