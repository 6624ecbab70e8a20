package submission

import (
	"net/netip"
	"net/url"
	"os"
	"testing"

	"github.com/wneessen/go-mail"

	"github.com/tidings-dev/tidings/services/mailer/internal/smtptest"
)

// Mails a second over loopback, of one sender after the other and of eight at once, against go-mail's own client, which
// sends them all on one connection. The server is the one of the tests, or that of TIDINGS_TEST_SMTP.
func BenchmarkSend(b *testing.B) {
	address, plain := os.Getenv("TIDINGS_TEST_SMTP"), ""
	if address == "" {
		srv := smtptest.Start(b, smtptest.Answers{NoTLS: true, Open: true})
		address, plain = srv.URL(), srv.Addr
	}
	b.Run("one", func(b *testing.B) {
		c := newClient(b, address)
		for b.Loop() {
			mustSend(b, c, "ada@example.com")
		}
		perSecond(b)
	})
	for _, connections := range []string{"1", "4"} {
		b.Run("eight over "+connections, func(b *testing.B) {
			c := newClient(b, withParam(b, address, paramConnections, connections))
			b.SetParallelism(4) // times GOMAXPROCS
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					mustSend(b, c, "ada@example.com")
				}
			})
			perSecond(b)
		})
	}
	if plain != "" {
		b.Run("go-mail", func(b *testing.B) { benchmarkRaw(b, plain) })
	}
}

func perSecond(b *testing.B) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
}

func withParam(b *testing.B, address, name, value string) string {
	b.Helper()
	u, err := url.Parse(address)
	if err != nil {
		b.Fatal(err)
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// benchmarkRaw sends with what go-mail offers by itself.
func benchmarkRaw(b *testing.B, addr string) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		b.Fatal(err)
	}
	c, err := mail.NewClient(at.Addr().String(), mail.WithPort(int(at.Port())), mail.WithTLSPolicy(mail.NoTLS))
	if err != nil {
		b.Fatal(err)
	}
	if err := c.DialWithContext(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	m := mail.NewMsg()
	if err := m.From("welcome@tidings.example"); err != nil {
		b.Fatal(err)
	}
	if err := m.To("ada@example.com"); err != nil {
		b.Fatal(err)
	}
	m.Subject("Hello")
	m.SetBodyString(mail.TypeTextPlain, "Bye\n")
	for b.Loop() {
		if err := c.Send(m); err != nil {
			b.Fatal(err)
		}
	}
	perSecond(b)
}
