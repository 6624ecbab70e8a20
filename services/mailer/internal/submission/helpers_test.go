package submission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tidings-dev/tidings/bus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon bounds every wait, on a machine that is busy with other tests.
const soon = 60 * time.Second

// newClient makes a client that runs until the test ends. set changes it first.
func newClient(t testing.TB, address string, set ...func(*Client)) *Client {
	t.Helper()
	s, err := Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	c := New(s, slog.New(slog.NewTextHandler(t.Output(), nil)))
	for _, f := range set {
		f(c)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return c
}

func mailTo(to string) Mail {
	text := fmt.Sprintf("Message-ID: <%s>\r\nSubject: Hello\r\n\r\n.\r\n..two dots\r\nBye\r\n", to)
	return Mail{From: "welcome@tidings.example", To: to, Text: []byte(text)}
}

func send(t testing.TB, c *Client, to string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	return c.Send(ctx, mailTo(to))
}

func mustSend(t testing.TB, c *Client, to string) {
	t.Helper()
	if err := send(t, c, to); err != nil {
		t.Fatal(err)
	}
}

// wantRetry fails the test unless err is one after which the mail is sent again.
func wantRetry(t testing.TB, err error) {
	t.Helper()
	if err == nil || bus.IsPermanent(err) {
		t.Fatalf("error %v (permanent: %t); want one that is tried again", err, bus.IsPermanent(err))
	}
}

// until asks again until is reports true.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("it took too long until %s", what)
		}
	}
}

// refusal is the server's answer in err.
func refusal(t testing.TB, err error) *Refusal {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("error %v is no server's refusal", err)
	}
	return r
}
