package inbox

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/embedded"
	"github.com/tidings-dev/tidings/bus/kafka"
)

// brokerURL is the real broker, where one is named, or an embedded one.
func brokerURL(t testing.TB) string {
	t.Helper()
	if url := os.Getenv("TIDINGS_TEST_KAFKA"); url != "" {
		return url
	}
	k, err := embedded.StartKafka(t.Context(), embedded.KafkaConfig{Addr: "127.0.0.1:0", Dir: filepath.Join(t.TempDir(), "kafka"), Log: new(logs).logger()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return k.URL()
}

func openBus(t testing.TB, url string) bus.Bus {
	t.Helper()
	b, err := bus.Open(t.Context(), url, kafka.Backend(), bus.WithLogger(new(logs).logger()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// uniqueTopic is a name that no other run on the same broker uses.
func uniqueTopic() string { return fmt.Sprintf("inbox-test-%d-%d", os.Getpid(), time.Now().UnixNano()) }

// The rows of what has come say the same on Kafka as on the Recorder: a consumer that was down catches up, an emptied
// database gets everything, and replicas share the work.
func TestOnKafka(t *testing.T) {
	b := openBus(t, brokerURL(t))
	name := uniqueTopic()
	const keys = 200
	send := func(v uint64) {
		var events []bus.Event
		for k := range keys {
			events = append(events, created(t, fmt.Sprint("k", k), v, ""))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*soon)
		defer cancel()
		if err := b.Publish(ctx, name, events...); err != nil {
			t.Fatal(err)
		}
	}
	start := func(db *sql.DB) (*Inbox, func()) {
		cfg := config(t, db)
		cfg.Topics, cfg.Require = []string{name}, bus.All()
		in := mustNew(t, cfg, recordAll()...)
		return in, run(t, in, b)
	}
	want := func(in *Inbox, v uint64) {
		t.Helper()
		for k := range keys {
			await(t, in, fmt.Sprint("k", k), v)
		}
		wantOrderWithinKeys(t, applications(t, in.cfg.DB))
		if s := status(t, in); s.Keys != keys || s.Versions != keys*v || s.Lag != 0 || s.Missing != 0 {
			t.Fatalf("status is %+v", s)
		}
	}

	send(1)
	first := newDB(t)
	in, stop := start(first)
	want(in, 1)
	stop()
	send(2) // while it is down
	in, _ = start(first)
	want(in, 2)
	empty, _ := start(newDB(t))
	want(empty, 2)
	replica, leave := start(first) // partitions move while events come
	send(3)
	want(in, 3)
	want(replica, 3)
	leave()
	send(4)
	want(in, 4)
	want(empty, 4)
}
