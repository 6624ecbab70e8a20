package lab

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

// The experiments wait more than they work, so more of them go at once than there are processors.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// steps is what a run told, in order.
type steps struct {
	mu  sync.Mutex
	all []string
}

func (s *steps) add(bus, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, bus+": "+what)
}

func (s *steps) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.all, "\n")
}

// topic is the one that the steps name.
func (s *steps) topic(t *testing.T) string {
	t.Helper()
	_, rest, ok := strings.Cut(s.String(), "topic ")
	if !ok {
		t.Fatalf("no topic in:\n%v", s)
	}
	name, _, _ := strings.Cut(rest, "\n")
	return name
}

// nothingIn fails the test for every file in a folder.
func nothingIn(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("%s is left", filepath.Join(dir, e.Name()))
	}
}

// kafkaTopics asks a broker for the names of its topics.
func kafkaTopics(t *testing.T, rawURL string) []string {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.TrimPrefix(rawURL, "kafka://")))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	topics, err := kadm.NewClient(client).ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return topics.Names()
}

// noTopic waits until a broker has no topic of that name: it may show one for a moment after it was deleted.
func noTopic(t *testing.T, rawURL, name string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for slices.Contains(kafkaTopics(t, rawURL), name) {
		if time.Now().After(deadline) {
			t.Fatalf("the topic %s is left", name)
		}
	}
}

// only returns the kind of that id. Its topics are deleted without the limit that is for people who wait.
func only(t *testing.T, id string) []kind {
	t.Helper()
	for _, k := range kinds() {
		if k.id == id {
			k.remove = patient(k.remove)
			return []kind{k}
		}
	}
	t.Fatalf("no kind %q", id)
	return nil
}

// patient gives a broker a minute, on a machine that is busy with other tests.
func patient(remove func(ctx context.Context, rawURL string, topics ...string) error) func(context.Context, string, ...string) error {
	if remove == nil {
		return nil
	}
	return func(ctx context.Context, rawURL string, topics ...string) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return remove(ctx, rawURL, topics...)
	}
}

// cancelledAt runs the experiment on one kind of bus until the step that begins so, at which it is cancelled.
func cancelledAt(t *testing.T, id, step string, cfg Config) *steps {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := &steps{}
	cfg.Step = func(bus, what string) {
		told.add(bus, what)
		if step != "" && strings.HasPrefix(what, step) {
			cancel()
		}
	}
	wrote := cfg.Wrote
	cfg.Wrote = func(total int) {
		if wrote != nil {
			wrote(total)
		}
		if step == "" {
			cancel()
		}
	}
	if _, err := run(ctx, cfg, only(t, id)); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "left") {
		t.Errorf("at %q: %v; want that it was cancelled, and no more", step, err)
	}
	return told
}
