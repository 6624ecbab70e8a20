package kafka_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/kafka"
)

// words is a registry whose answers are told: a frame a type, or an error.
type words struct {
	frame  func(ctx context.Context, topic, typ string) ([]byte, error)
	config kafka.RegistryConfig
	closed bool
}

func (w *words) Frame(ctx context.Context, topic, typ string) ([]byte, error) {
	return w.frame(ctx, topic, typ)
}
func (w *words) Close() { w.closed = true }

func (w *words) open(c kafka.RegistryConfig) (kafka.Registry, error) {
	w.config = c
	return w, nil
}

// lines is a log that may be read while it is written.
type lines struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// openWith opens a bus that has w for its registry.
func openWith(t *testing.T, broker string, w *words, log *slog.Logger) bus.Bus {
	t.Helper()
	b, err := bus.Open(t.Context(), broker+"?partitions=1&mode=binary&schema_registry=http://r:8081",
		kafka.Backend(kafka.WithSchemaRegistry(w.open)), bus.WithLogger(log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeBus(t, b) })
	return b
}

func TestWhatAnAddressMaySayOfTheRegistry(t *testing.T) {
	t.Setenv(kafka.RegistryPasswordEnv, "")
	const base = "kafka://h?mode=binary&schema_registry="
	for url, want := range map[string]string{
		base + "http://r:8081": `parameter "schema_registry": this program doesn't link the registry's client; import github.com/tidings-dev/tidings/bus/kafka/schemaregistry ` +
			`and open the bus with kafka.Backend(kafka.WithSchemaRegistry(schemaregistry.New))`,
		"kafka://h?schema_registry=http://r:8081":                 `parameter "schema_registry" needs mode=binary`,
		"kafka://h?mode=structured&schema_registry=http://r:8081": `parameter "schema_registry" needs mode=binary`,
		"kafka://h?mode=binary&schema_registry.register=false":    `parameter "schema_registry.register" needs "schema_registry"`,
		"kafka://h?mode=binary&schema_registry.username=me":       `parameter "schema_registry.username" needs "schema_registry"`,
		base:                          `parameter "schema_registry" is empty`,
		base + "r:8081":               `is no http:// or https:// URL`,
		base + "http://r:8081,":       `is no http:// or https:// URL`,
		base + "mock://":              `is no http:// or https:// URL`,
		base + "http://me@r":          `a user doesn't belong in the address; pass schema_registry.username and set TIDINGS_SCHEMA_REGISTRY_PASSWORD`,
		base + "http://r?mode=binary": `write & before the next parameter`,
		base + "http://r&schema_registry.register=":               `it can be true, false`,
		base + "http://r&schema_registry.subject=topic":           `it can be record, topic_record`,
		base + "http://r&schema_registry.username=me":             `no password for "me": set TIDINGS_SCHEMA_REGISTRY_PASSWORD, or pass schema_registry.password.file`,
		base + "http://r&schema_registry.password.file=/x":        `parameter "schema_registry.password.file" needs "schema_registry.username"`,
		base + "http://r&schema_registry.password=s3cr3tW0rd":     `unknown parameter "schema_registry.password"`,
		base + "http://me:s3cr3tW0rd@r":                           `a user doesn't belong in the address`,
		base + "http%3A%2F%2Fme%3As3cr3tW0rd%40r":                 `a user doesn't belong in the address`,
		base + "http://me:s3cr3tW0rd@%zz":                         `invalid URL escape`,
		base + "http://me:s3cr3tW0rd@[r":                          `is no http:// or https:// URL`,
		"kafka://h?mode=text&schema_registry=http://s3cr3tW0rd@r": `parameter "mode" is "text"`,
		"kafka://h?schema_registri=http://me:s3cr3tW0rd@r":        `did you mean "schema_registry"?`,
	} {
		_, err := bus.Open(t.Context(), url, kafka.Backend(), bus.WithLogger(slog.New(slog.DiscardHandler)))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cr3tW0rd") {
			t.Errorf("%s\n got: %v\nwant: %s", url, err, want)
		}
	}
}

func TestTheRegistryHearsWhatTheAddressSays(t *testing.T) {
	t.Setenv(kafka.RegistryPasswordEnv, "hunter2")
	for params, want := range map[string]struct {
		config kafka.RegistryConfig
		logged string
	}{
		"schema_registry=http://r:8081/": {
			kafka.RegistryConfig{URLs: []string{"http://r:8081"}, Register: true},
			"schema_registry=http://r:8081 schema_registry.register=true schema_registry.subject=record",
		},
		"schema_registry=http://r:8081,https://s/path&schema_registry.register=false&schema_registry.subject=topic_record" +
			"&schema_registry.username=me&schema_registry.ssl.ca.location=ca.pem": {
			kafka.RegistryConfig{URLs: []string{"http://r:8081", "https://s/path"}, ByTopic: true, Username: "me", Password: "hunter2", CA: "ca.pem"},
			"schema_registry.register=false schema_registry.subject=topic_record schema_registry.username=me " +
				"(password from TIDINGS_SCHEMA_REGISTRY_PASSWORD) schema_registry.ssl.ca.location=ca.pem",
		},
	} {
		var w words
		var log lines
		b, err := bus.Open(t.Context(), "kafka://h?mode=binary&"+params, kafka.Backend(kafka.WithSchemaRegistry(w.open)),
			bus.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		if err != nil {
			t.Fatal(err)
		}
		closeBus(t, b)
		got := w.config
		if !slices.Equal(got.URLs, want.config.URLs) || got.Register != want.config.Register || got.ByTopic != want.config.ByTopic ||
			got.Username != want.config.Username || got.Password != want.config.Password || got.CA != want.config.CA {
			t.Errorf("%s: %+v, want %+v", params, got, want.config)
		}
		if !strings.Contains(log.String(), want.logged) || strings.Contains(log.String(), "hunter2") {
			t.Errorf("logged %s\nwant %s", log.String(), want.logged)
		}
		if !w.closed {
			t.Error("Close of the bus leaves the registry open")
		}
	}
}

// What the registry refuses keeps back its own events and what follows them in their keys, and nothing else.
func TestARefusedTypeHoldsUpItsOwnKeysOnly(t *testing.T) {
	t.Parallel()
	refusal := errors.New("incompatible: field 3 was removed")
	w := &words{frame: func(_ context.Context, _, typ string) ([]byte, error) {
		if typ == "test.Bad" {
			return nil, bus.Permanent(refusal)
		}
		return []byte("\x00\x00\x00\x00\x01\x00"), nil
	}}
	b := openWith(t, brokerURL(t), w, logger(t))
	topic := unique(t, "topic")
	all := []bus.Event{event("a", 1), event("b", 1), event("a", 2), event("a", 3), event("b", 2)}
	all[2].Type = "test.Bad"
	err := b.Publish(t.Context(), topic, all...)
	var partial *bus.PublishError
	if !errors.As(err, &partial) || !errors.Is(err, refusal) || !bus.IsPermanent(err) || !strings.Contains(err.Error(), "field 3 was removed") {
		t.Fatal(err)
	}
	if failed := slices.Sorted(maps.Keys(partial.Failed)); !slices.Equal(failed, []int{2, 3}) {
		t.Errorf("events %v failed", failed)
	}
	s := subscribe(t, b, bus.Subscription{Group: unique(t, "group"), Topics: []string{topic}}, nil)
	s.waitFor(3)
	for i, want := range []int{0, 1, 4} {
		if got := s.got()[i]; got.ID != all[want].ID || string(got.Data) != string(all[want].Data) || all[want].At.Topic != topic {
			t.Errorf("event %d: %+v, want %s", i, got, all[want].ID)
		}
	}
}

// A registry that is away is waited for, as a broker is; the reason is logged, and told when the caller gives up.
func TestPublishWaitsForARegistryThatIsAway(t *testing.T) {
	t.Parallel()
	back := make(chan struct{})
	var log lines
	w := &words{frame: func(context.Context, string, string) ([]byte, error) {
		select {
		case <-back:
			return []byte("\x00\x00\x00\x00\x01\x00"), nil
		default:
			return nil, errors.New("connection refused by r")
		}
	}}
	b := openWith(t, brokerURL(t), w, slog.New(slog.NewTextHandler(&log, nil)))
	topic := unique(t, "topic")
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := b.Publish(short, topic, event("a", 1))
	if !errors.Is(err, context.DeadlineExceeded) || bus.IsPermanent(err) || !strings.Contains(err.Error(), "connection refused by r") {
		t.Errorf("given up: %v", err)
	}
	if n := strings.Count(log.String(), "waiting for the schema registry"); n != 1 {
		t.Errorf("%d lines are logged of it:\n%s", n, log.String())
	}
	done := make(chan error, 1)
	go func() { done <- b.Publish(t.Context(), topic, event("a", 1)) }()
	close(back)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Close ends a Publish that waits for the registry.
func TestCloseEndsTheWaitForTheRegistry(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{}, 1000)
	w := &words{frame: func(ctx context.Context, _, _ string) ([]byte, error) {
		asked <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	b := openWith(t, brokerURL(t), w, logger(t))
	done := make(chan error, 1)
	go func() { done <- b.Publish(context.WithoutCancel(t.Context()), unique(t, "topic"), event("a", 1)) }()
	<-asked
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Close(ended); err == nil {
		t.Error("Close waited for nothing, and says so")
	}
	if err := <-done; !errors.Is(err, bus.ErrClosed) {
		t.Error(err)
	}
}
