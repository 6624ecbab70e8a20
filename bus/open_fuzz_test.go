package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
)

// secret stands for a password. Nothing that the mutator makes by chance holds it.
const secret = "s3cr3tPassw0rd"

var errBackend = errors.New("the backend's")

// FuzzOpen holds Open to this, whatever the URL is: it doesn't panic; there is a bus, or an error, which names the
// package; a password before an @ is refused, and stands in no error, however the URL around it is garbled. before and
// after are put around ":secret@".
func FuzzOpen(f *testing.F) {
	for _, parts := range [][2]string{
		{"kafka://me", "h:9092"}, {"kafka://", "h"}, {"kafka:me", "h"}, {"kafka//me", "h"}, {"kafka:/me", "h"}, {"/me", "h"}, {"//me", "h"},
		{"me", "h:9092"}, {"my_user", "h"}, {"redis://h/me", "x"}, {"redis://h#me", "x"}, {"kafka://me", "h:x"}, {"kafka://me", "h?acks=%zz"},
		{"kafka://a,b:9092,me", "c"}, {"KAFKA://me", "[::1]:9092"}, {"amqp://me", "h"}, {"", ""}, {"redis://h?password=", "x"}, {"\x00", "\xff"},
		{"kafka://h%2", "x"}, {"kafka://me", "h%40x"},
	} {
		f.Add(parts[0], parts[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, raw := range []string{before + ":" + secret + "@" + after, before + after} {
			_, err := bus.Open(t.Context(), raw, anyURL("kafka", "kafka+ssl"), anyURL("redis"))
			withSecret := strings.Contains(raw, secret)
			switch {
			case err == nil && withSecret && !inQuery(raw):
				t.Fatalf("%q: a password was taken", raw)
			case err == nil:
				continue
			case !strings.HasPrefix(err.Error(), "bus: "):
				t.Fatalf("%q: %v", raw, err)
			case withSecret && !inQuery(raw) && strings.Contains(err.Error(), secret):
				t.Fatalf("%q: the password is told: %v", raw, err)
			}
		}
	})
}

// inQuery reports whether the secret is a parameter's, or of its name: no place that a password is looked for in.
func inQuery(raw string) bool {
	_, query, _ := strings.Cut(raw, "?")
	return strings.Contains(query, secret)
}

// anyURL is a backend that tells whatever it is given, as those that there are tell some of it.
func anyURL(schemes ...string) bus.Backend {
	return bus.Backend{Schemes: schemes, Open: func(_ context.Context, u *url.URL, _ *slog.Logger) (bus.Bus, error) {
		if _, err := bus.ParseParams(u, "acks", "linger", "password"); err != nil || u.Path == "" && u.Opaque == "" {
			return &fakeBus{}, err
		}
		return nil, errors.Join(errBackend, errors.New(u.Host+u.Path+u.Opaque+u.Fragment))
	}}
}

// FuzzParams holds the readers of parameters to this: whatever stands there, what they answer is within its bounds, and
// is what stands there or the default; and a fault is told by Err.
func FuzzParams(f *testing.F) {
	for _, q := range []string{
		"", "text=x&one=B&number=7&duration=250ms", "number=-1&duration=9e9h&one=&text=", "number=99999999999999999999", "duration=-5",
		"text=%zz", "text=%00&text=1", "numbr=1", ";", "&&&", "=", "one=a%20", "duration=1.5s", "number=0x10", "TEXT=1", "a=1&b=2&c=3", "text", "%00=1",
	} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		p, err := bus.ParseParams(&url.URL{Scheme: "x", Host: "h", RawQuery: query}, "text", "one", "number", "duration")
		if (p == nil) == (err == nil) {
			t.Fatalf("%q: %v beside %v", query, p, err)
		}
		if err != nil {
			return
		}
		text, one := p.Text("text", "def"), p.OneOf("one", "a", "B")
		number, duration := p.Number("number", 5, 1, 10), p.Duration("duration", time.Second, time.Millisecond, time.Minute)
		if number < 1 || number > 10 || duration < time.Millisecond || duration > time.Minute || !slices.Contains([]string{"a", "B"}, one) {
			t.Fatalf("%q: %q %d %v", query, one, number, duration)
		}
		if text == "" && p.Err() == nil {
			t.Fatalf("%q: an empty text is told by nobody", query)
		}
	})
}
