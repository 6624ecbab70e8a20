package tail_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/embedded"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"github.com/tidings-dev/tidings/services/internal/backends"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/tidings/internal/tail"
)

// tailing is a tail that runs.
type tailing struct {
	t    testing.TB
	stop context.CancelFunc
	done chan struct{}
	err  error // once done

	mu   sync.Mutex
	out  bytes.Buffer
	said []string
}

// Write keeps what is printed.
func (r *tailing) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.Write(b)
}

func (r *tailing) say(line string) {
	r.t.Log("said: " + line)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, line)
}

func (r *tailing) lines() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(strings.Lines(r.out.String()))
}

func (r *tailing) saying() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.said, "\n")
}

func start(t testing.TB, cfg tail.Config) *tailing {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &tailing{t: t, stop: cancel, done: make(chan struct{})}
	if cfg.Say = r.say; cfg.Out == nil {
		cfg.Out = r
	}
	go func() {
		defer close(r.done)
		r.err = tail.Run(ctx, cfg)
	}()
	t.Cleanup(func() { r.stop(); <-r.done })
	return r
}

// ends waits until it has ended by itself.
func (r *tailing) ends() error {
	r.t.Helper()
	select {
	case <-r.done:
	case <-time.After(3 * servicetest.Soon):
		r.t.Fatalf("it goes on; it said:\n%s", r.saying())
	}
	return r.err
}

// interrupt is Ctrl-C.
func (r *tailing) interrupt() {
	r.t.Helper()
	r.stop()
	if err := r.ends(); err != nil {
		r.t.Errorf("it was interrupted, and ends with %v", err)
	}
}

func (r *tailing) until(what string, is func() bool) {
	r.t.Helper()
	servicetest.Await(r.t, 3*servicetest.Soon, 5*time.Millisecond, what, func() (bool, any) {
		return is(), fmt.Sprintf("%q, said %q", r.lines(), r.saying())
	})
}

func (r *tailing) says(part string) {
	r.t.Helper()
	r.until("it says "+part, func() bool { return strings.Contains(r.saying(), part) })
}

func (r *tailing) printed(n int) []string {
	r.t.Helper()
	r.until(fmt.Sprint(n, " lines are printed"), func() bool { return len(r.lines()) >= n })
	return r.lines()
}

func open(t testing.TB, url string) bus.Bus {
	t.Helper()
	b, err := backends.Open(t.Context(), url, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) })
	return b
}

func client(t testing.TB, url string) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.TrimPrefix(url, "kafka://")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// brokerHas lists what stays at a broker.
func brokerHas(t testing.TB, url string) (groups, topics []string) {
	t.Helper()
	adm := kadm.NewClient(client(t, url))
	all, err := adm.ListGroups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	found, err := adm.ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all.Groups(), found.Names()
}

func happened(t testing.TB, key string, v uint64) bus.Event {
	return servicetest.Event(t, key, v, &eventsv1.UserUpdated{User: &eventsv1.User{Id: key, Version: v}})
}

// Everything that can stand in a log, of any version and by anybody, on one broker.
func TestOnKafkaALogIsPrintedFromItsBeginning(t *testing.T) {
	t.Parallel()
	url, topic := servicetest.KafkaURL(t), servicetest.NewTopic()
	b := open(t, url)
	beat, err := bus.Heartbeat{Source: "/users", SeqLog: "x", Seq: 1}.Event()
	if err != nil {
		t.Fatal(err)
	}
	unknown := happened(t, "k", 3)
	unknown.Type = "users.events.v9.UserMoved"
	servicetest.PublishTo(t, b, topic, happened(t, "k", 1), beat,
		servicetest.Event(t, "k", 2, &eventsv2.UserUpdated{User: &eventsv2.User{Name: &eventsv2.PersonName{Given: "Ada"}}}), unknown)
	cl := client(t, url)
	hostile := []*kgo.Record{
		{Topic: topic, Key: []byte("\x1b[2J"), Value: []byte("\x1b]0;owned\a")}, {Topic: topic},
		{Topic: topic, Value: []byte{0xff}, Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte(bus.TypeEnvelope)}}},
	}
	if err := cl.ProduceSync(t.Context(), hostile...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	broken := happened(t, "k", 4)
	broken.Data = []byte{0xff}
	servicetest.PublishTo(t, b, topic, broken)

	groups, topics := brokerHas(t, url)
	for _, asJSON := range []bool{false, true} {
		r := start(t, tail.Config{Bus: url, Topic: topic, Count: 7, JSON: asJSON})
		if err := r.ends(); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(r.lines(), "")
		for _, part := range []string{"users.events.v1.UserUpdated", "users.events.v2.UserUpdated", `"given":"Ada"`, "users.events.v9.UserMoved"} {
			if !strings.Contains(got, part) {
				t.Errorf("there is no %s in:\n%s", part, got)
			}
		}
		if strings.ContainsAny(got, "\x1b\a") || strings.Contains(got, "Heartbeat") {
			t.Errorf("printed %q", got)
		}
		r.says(topic + " at " + url + " from the beginning: up to 8 are there")
	}
	r := start(t, tail.Config{Bus: url, Topic: topic, Key: "k", Types: []string{"UserUpdated"}, Count: 3})
	if err := r.ends(); err != nil {
		t.Fatal(err)
	}
	if got := r.lines(); !strings.Contains(got[0], " k 1 ") || !strings.Contains(got[1], " k 2 ") || !strings.Contains(got[2], " k 4 ") {
		t.Errorf("a key's events are printed in this order: %q", got)
	}
	later, laterTopics := brokerHas(t, url)
	if os.Getenv("TIDINGS_TEST_KAFKA") != "" { // others leave there what they like
		mine := func(name string) bool { return !strings.Contains(name, "tail") }
		groups, later, topics, laterTopics = nil, slices.DeleteFunc(later, mine), nil, nil
	}
	if !slices.Equal(groups, later) || !slices.Equal(topics, laterTopics) {
		t.Errorf("the broker had groups %q and topics %q, and has %q and %q", groups, topics, later, laterTopics)
	}
}

func TestOnKafkaTheEndIsWhereItBegins(t *testing.T) {
	t.Parallel()
	url, topic := servicetest.KafkaURL(t), servicetest.NewTopic()
	b := open(t, url)
	servicetest.PublishTo(t, b, topic, happened(t, "a", 1))
	r := start(t, tail.Config{Bus: url, Topic: topic, Start: bus.Latest()})
	r.says("from the end")
	servicetest.PublishTo(t, b, topic, happened(t, "a", 2))
	r.printed(1) // though nothing follows it
	servicetest.PublishTo(t, b, topic, happened(t, "a", 3))
	got := r.printed(2)
	if !strings.Contains(got[0], " a 2 ") || !strings.Contains(got[1], " a 3 ") {
		t.Errorf("printed %q", got)
	}
	r.interrupt()

	r = start(t, tail.Config{Bus: url, Topic: topic, Start: bus.Since(time.Now().Add(-time.Hour)), Count: 3})
	if err := r.ends(); err != nil || len(r.lines()) != 3 {
		t.Errorf("of the last hour it prints %q, %v", r.lines(), err)
	}
	r.says("from what the broker received at ")
}

// A topic that isn't there is not made. Once it is, nothing of it is missed.
func TestOnKafkaATopicThatIsNotThereIsWaitedFor(t *testing.T) {
	t.Parallel()
	url, topic := servicetest.KafkaURL(t), servicetest.NewTopic()
	b := open(t, url)
	other := servicetest.NewTopic()
	servicetest.PublishTo(t, b, other, happened(t, "a", 1))
	r := start(t, tail.Config{Bus: url, Topic: topic, Start: bus.Latest()})
	r.says(fmt.Sprintf("there is no topic %q yet", topic))
	if _, topics := brokerHas(t, url); slices.Contains(topics, topic) {
		t.Error("it has made the topic")
	}
	servicetest.PublishTo(t, b, topic, happened(t, "a", 1))
	if got := r.printed(1); !strings.Contains(got[0], " a 1 ") {
		t.Errorf("printed %q", got)
	}
	r.says(topic + " at " + url + " from the beginning")
	r.interrupt()
	if os.Getenv("TIDINGS_TEST_KAFKA") == "" && !strings.Contains(r.saying(), "(there is "+other+")") {
		t.Errorf("the topics that are there are not told: %s", r.saying())
	}
}

// On a broker of its own: it is away at first, and again in the middle.
func TestABrokerThatIsAwayIsSaidAndWaitedFor(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "kafka")
	run := func(addr string) *embedded.Kafka {
		k, err := embedded.StartKafka(t.Context(), embedded.KafkaConfig{Addr: addr, Dir: dir, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	end := func(k *embedded.Kafka) {
		if err := k.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	k := run("127.0.0.1:0")
	addr, url := k.Addr(), k.URL()
	end(k)
	r := start(t, tail.Config{Bus: url, Topic: "t"})
	r.says("waiting for the broker: topic t, err: ")
	k = run(addr)
	b := open(t, url)
	servicetest.PublishTo(t, b, "t", happened(t, "a", 1), happened(t, "a", 2))
	r.printed(2)
	end(k)
	r.says("the broker doesn't answer, and is waited for")
	k = run(addr)
	defer func() { end(k) }()
	servicetest.PublishTo(t, b, "t", happened(t, "a", 3))
	if got := r.printed(3); !strings.Contains(got[2], " a 3 ") || len(got) != 3 {
		t.Errorf("printed %q", got)
	}
	r.interrupt()
}

func TestOnRedisThereIsOnlyWhatComes(t *testing.T) {
	t.Parallel()
	url, topic := servicetest.RedisURL(t), servicetest.NewTopic()
	b := open(t, url)
	r := start(t, tail.Config{Bus: url, Topic: topic, Start: bus.Latest(), JSON: true})
	r.says(topic + " at " + url + " from now on")
	e := happened(t, "a", 7)
	e.Seq, e.SeqLog = 5, "first.x"
	servicetest.PublishTo(t, b, topic, e)
	if got := r.printed(1); !strings.Contains(got[0], `"version":"7","sequence":"5","sequencelog":"first.x"`) || strings.Contains(got[0], "logoffset") {
		t.Errorf("printed %q", got)
	}
	r.interrupt()
	for _, begin := range []bus.Start{bus.Earliest(), bus.Since(time.Now())} {
		err := start(t, tail.Config{Bus: url, Topic: topic, Start: begin}).ends()
		if !errors.Is(err, tail.ErrNoLog) {
			t.Errorf("%v: %v", begin, err)
		}
	}
	r = start(t, tail.Config{Bus: url, Topic: topic, Start: bus.Latest(), Count: 2})
	r.says("from now on")
	servicetest.PublishTo(t, b, topic, happened(t, "a", 8), happened(t, "a", 9), happened(t, "a", 10))
	if err := r.ends(); err != nil || len(r.lines()) != 2 {
		t.Errorf("2 are wanted: %v, %q", err, r.lines())
	}
	if strings.Contains(r.saying(), "miss") {
		t.Errorf("what is not wanted is told as missing: %s", r.saying())
	}
}

// Whoever reads the lines has enough, as head has, though nothing follows that could fail to be written.
func TestAPipeThatIsClosedEndsItThoughNothingComes(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	r := start(t, tail.Config{Bus: servicetest.RedisURL(t), Topic: servicetest.NewTopic(), Start: bus.Latest(), Out: writer})
	r.says("from now on")
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.ends(); err != nil {
		t.Errorf("it ends with %v", err)
	}
}

// Whoever reads the lines has enough, and the next is not to be written.
func TestAPipeThatIsClosedEndsItQuietly(t *testing.T) {
	t.Parallel()
	kafka, redis := servicetest.KafkaURL(t), servicetest.RedisURL(t)
	for _, url := range []string{kafka, redis} {
		reader, writer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		topic, b := servicetest.NewTopic(), open(t, url)
		r := start(t, tail.Config{Bus: url, Topic: topic, Start: bus.Latest(), Out: writer})
		r.until("it stands", func() bool { return r.saying() != "" })
		if err := reader.Close(); err != nil {
			t.Fatal(err)
		}
		servicetest.PublishTo(t, b, topic, happened(t, "a", 1))
		if err := r.ends(); err != nil {
			t.Errorf("%s: it ends with %v", url, err)
		}
		_ = writer.Close()
	}
}

// fullDisk takes nothing.
type fullDisk struct{ io.Writer }

var errFull = errors.New("no space left")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestOutputThatFailsIsAnError(t *testing.T) {
	t.Parallel()
	for _, url := range []string{servicetest.KafkaURL(t), servicetest.RedisURL(t)} {
		topic, b := servicetest.NewTopic(), open(t, url)
		r := start(t, tail.Config{Bus: url, Topic: topic, Start: bus.Latest(), Out: fullDisk{}})
		r.until("it stands", func() bool { return r.saying() != "" })
		servicetest.PublishTo(t, b, topic, happened(t, "a", 1))
		if err := r.ends(); !errors.Is(err, errFull) {
			t.Errorf("%s: it ends with %v", url, err)
		}
	}
}

func TestAnAddressThatIsWrongIsAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{"kafka://": "no broker", "x://h:1": "no backend", "kafka://h:1?ack=1": `"acks"`} {
		if err := tail.Check(t.Context(), url); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", url, err)
		}
		if err := start(t, tail.Config{Bus: url, Topic: "t"}).ends(); err == nil {
			t.Errorf("%s is taken", url)
		}
	}
}
