package bus_test

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/tidings-dev/tidings/bus"
)

// fakeBus is a backend's inner bus: each test sets what it needs.
type fakeBus struct {
	publish    func(ctx context.Context, topic string, events []bus.Event) error
	subscribe  func(ctx context.Context, s bus.Subscription, h bus.Handler) error
	guarantees bus.Guarantees
	closed     int
}

func (f *fakeBus) Publish(ctx context.Context, topic string, events ...bus.Event) error {
	return f.publish(ctx, topic, events)
}

func (f *fakeBus) Subscribe(ctx context.Context, s bus.Subscription, h bus.Handler) error {
	return f.subscribe(ctx, s, h)
}

func (f *fakeBus) Guarantees() bus.Guarantees { return f.guarantees }

func (f *fakeBus) Close(context.Context) error {
	f.closed++
	return nil
}

// fakeKafka takes the parameters that the Kafka backend might.
func fakeKafka(b bus.Bus) bus.Backend {
	return bus.Backend{
		Schemes:  []string{"kafka", "kafka+ssl"},
		Password: "set FAKE_PASSWORD",
		Open: func(_ context.Context, u *url.URL, _ *slog.Logger) (bus.Bus, error) {
			_, err := bus.ParseParams(u, "acks", "client", "partitions", "linger")
			return b, err
		},
	}
}

func fakeRedis(b bus.Bus) bus.Backend {
	return bus.Backend{Schemes: []string{"redis"}, Open: func(context.Context, *url.URL, *slog.Logger) (bus.Bus, error) { return b, nil }}
}

func TestOpenErrors(t *testing.T) {
	for _, tt := range []struct{ url, want string }{
		{"kafka://h:9092?ack=1", `bus: kafka://h:9092?ack=1: unknown parameter "ack"; did you mean "acks"?`},
		{"kafka://h:9092?compression=zstd", `bus: kafka://h:9092?compression=zstd: unknown parameter "compression"; there is acks, client, partitions, linger`},
		{"kafka://h?acks=1&acks=2", `bus: kafka://h?acks=1&acks=2: parameter "acks" stands there 2 times`},
		{"kafka://h?ack=1&linge=2", "bus: kafka://h?ack=1&linge=2: unknown parameter \"ack\"; did you mean \"acks\"?\nunknown parameter \"linge\"; did you mean \"linger\"?"},
		{"amqp://h:5672", `bus: no backend for scheme "amqp"; there is kafka://host:port or kafka+ssl://host:port or redis://host:port`},
		{"localhost:9092", `bus: no backend for scheme "localhost"; there is kafka://host:port or kafka+ssl://host:port or redis://host:port`},
		{"kafka", `bus: "kafka" is not an address; pass one such as kafka://host:port or kafka+ssl://host:port or redis://host:port`},
		{"", `bus: "" is not an address; pass one such as kafka://host:port or kafka+ssl://host:port or redis://host:port`},
		{"127.0.0.1:9092", `bus: "127.0.0.1:9092" can't be read: first path segment in URL cannot contain colon; pass one such as kafka://host:port or kafka+ssl://host:port or redis://host:port`},
		{"kafka://u:secret@h", `bus: kafka://u:xxxxx@h: a password doesn't belong in the URL; set FAKE_PASSWORD`},
		{"kafka:u:secret@h", `bus: kafka:xxxxx (it may hold a password): there is an @ where no user can stand; pass a URL such as kafka://host:port or kafka+ssl://host:port or redis://host:port`},
		{"/u:secret@h", `bus: ":xxxxx (it may hold a password)" is not an address; pass one such as kafka://host:port or kafka+ssl://host:port or redis://host:port`},
	} {
		b, err := bus.Open(t.Context(), tt.url, fakeKafka(&fakeBus{}), fakeRedis(&fakeBus{}))
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s:\n got %v\nwant %s", tt.url, err, tt.want)
		}
		if b != nil {
			t.Errorf("%s: a bus was returned beside the error", tt.url)
		}
	}
}

func TestOpenWithoutABackendSaysSo(t *testing.T) {
	_, err := bus.Open(t.Context(), "kafka://h:9092")
	if err == nil || !strings.Contains(err.Error(), "no backend was passed to Open") {
		t.Errorf("got %v", err)
	}
}

func TestOpenNeverPrintsAPassword(t *testing.T) {
	for _, u := range []string{
		"kafka://u:hunter2@h:9092",
		"kafka://u:hunter2@h:9092?ack=1",
		"//u:hunter2@h:9092",
		"amqp://u:hunter2@h",
		"u:hunter2@h",
		"kafka://u:hunter2@h:x",
		"kafka://u:hunter2/@h",
		"kafka://u:hunter2%zz@h",
		"kafka://h:hunter2@",
		"kafka://h:9092?password=hunter2",
		"kafka://h:9092?sasl.Password=hunter2&ack=1",
		"kafka://h:9092?api_key=hunter2;x",
		"kafka://h:x?password=hunter2",
	} {
		_, err := bus.Open(t.Context(), u, fakeKafka(&fakeBus{}))
		if err == nil {
			t.Errorf("%s was opened", u)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s is told to the world: %v", u, err)
		}
	}
}

func TestOpenWrapsWhatTheBackendMade(t *testing.T) {
	inner := &fakeBus{guarantees: bus.Guarantees{Durable: true}}
	b, err := bus.Open(t.Context(), "KAFKA://a:1,b:2?acks=1", fakeRedis(nil), fakeKafka(inner))
	if err != nil {
		t.Fatal(err)
	}
	if b.Guarantees() != inner.guarantees {
		t.Errorf("Guarantees: %v", b.Guarantees())
	}
	if err := b.Publish(t.Context(), "topic", bus.Event{}); err == nil {
		t.Error("an empty event reached the backend")
	}
	if err := b.Close(t.Context()); err != nil || inner.closed != 1 {
		t.Errorf("Close: %v, heard %d times", err, inner.closed)
	}
}

func TestOpenGivesTheBackendItsLogger(t *testing.T) {
	var got *slog.Logger
	backend := bus.Backend{Schemes: []string{"x"}, Open: func(_ context.Context, _ *url.URL, log *slog.Logger) (bus.Bus, error) {
		got = log
		return nil, errors.New("not today")
	}}
	log := slog.New(slog.DiscardHandler)
	_, err := bus.Open(t.Context(), "x://h", backend, bus.WithLogger(log))
	if err == nil || err.Error() != "bus: x://h: not today" || got != log {
		t.Errorf("got logger %v and %v", got, err)
	}
	_, _ = bus.Open(t.Context(), "x://h", backend)
	if got != slog.Default() {
		t.Error("the default isn't slog.Default")
	}
}

func TestParseParams(t *testing.T) {
	known := []string{"acks", "db", "group_protocol", "linger"}
	for _, tt := range []struct {
		query string
		want  map[string]string
		err   string
	}{
		{"", map[string]string{}, ""},
		{"acks=all&linger=5ms", map[string]string{"acks": "all", "linger": "5ms"}, ""},
		{"acks=", map[string]string{"acks": ""}, ""},
		{"acks", map[string]string{"acks": ""}, ""},
		{"acks=%C3%A4+b", map[string]string{"acks": "ä b"}, ""},
		{"ack=1", nil, `unknown parameter "ack"; did you mean "acks"?`},
		{"ACKS=1", nil, `unknown parameter "ACKS"; did you mean "acks"?`},
		{"group-protocol=x", nil, `unknown parameter "group-protocol"; did you mean "group_protocol"?`},
		{"lnger=1", nil, `unknown parameter "lnger"; did you mean "linger"?`},
		{"x=1", nil, `unknown parameter "x"; there is acks, db, group_protocol, linger`},
		{"a=1;b=2", nil, `parameters: invalid semicolon separator in query`},
		{"acks=%zz", nil, `parameters: invalid URL escape "%zz"`},
		{"db=1&db=1&db=2", nil, `parameter "db" stands there 3 times`},
	} {
		got, err := bus.ParseParams(&url.URL{RawQuery: tt.query}, known...)
		if (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%q:\n got %v\nwant %s", tt.query, err, tt.err)
		}
		for _, k := range known {
			v, want := tt.want[k]
			if got == nil {
				continue
			}
			if have, set := got.Get(k); set != want || have != v {
				t.Errorf("%q: %s is %q, %v; want %q, %v", tt.query, k, have, set, v, want)
			}
		}
	}
	if _, err := bus.ParseParams(&url.URL{RawQuery: "x=1"}); err == nil || err.Error() != `unknown parameter "x"; there are none` {
		t.Errorf("with no parameters known: %v", err)
	}
}
