package e2e

import (
	"context"
	"log/slog"
	"os"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/kafka"
	"github.com/tidings-dev/tidings/bus/redis"
)

// kind is what a test has to know of a backend. It is all that differs: no test asks which one it is.
type kind struct {
	name     string // as `up --bus` and .ci/real call it
	variable string // names a real server that tests may share
	backend  func() bus.Backend
	// keeps says that what is published waits for whoever is down, or new. Where it doesn't, that is lost to them, and
	// counted by them.
	keeps bool

	partitions string // has topics made smaller, where there are many topics: a parameter of the URL

	pid  string // where .ci/real writes the server's process id down
	port string // tells .ci/real where it is to listen
}

var kinds = [...]kind{
	{
		name: "kafka", variable: "TIDINGS_TEST_KAFKA", backend: func() bus.Backend { return kafka.Backend() }, keeps: true,
		partitions: "?partitions=4", pid: "kafka-1.pid", port: "TIDINGS_REAL_KAFKA_PORT",
	},
	{
		name: "redis", variable: "TIDINGS_TEST_REDIS", backend: redis.Backend, keeps: false,
		pid: "redis.pid", port: "TIDINGS_REAL_REDIS_PORT",
	},
}

// redisKind is for the tests of what only a bus without a log can do to its readers.
func redisKind() kind { return kinds[1] }

// loses is how many of n events a reader must miss that can't hear them.
func (k kind) loses(n int) int {
	if k.keeps {
		return 0
	}
	return n
}

// wire is a bus that runs somewhere: what --bus says.
type wire struct {
	kind
	url  string
	real bool

	postgres bool // services keep what they know there, and not in files
}

// programs are those for a test here. The race detector finds nothing on real servers, or in replicas, that it doesn't find
// inside the process, in the packages' own tests, and in the replicas of the soak; and it slows down a few times.
func (w wire) programs() *programs {
	if w.real || w.postgres {
		return mortals
	}
	return binaries
}

// onBuses runs a test that does not stop the server: on each backend, on the embedded server and on the real one that
// the environment names.
func onBuses(t *testing.T, test func(t *testing.T, w wire)) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name+" embedded", func(t *testing.T) {
			t.Parallel()
			test(t, startEmbedded(t, k).wire())
		})
		t.Run(k.name+" real", func(t *testing.T) {
			url := k.needReal(t)
			t.Parallel()
			test(t, wire{kind: k, url: url, real: true})
		})
	}
}

// onDatabases is onBuses for a test that is to hold for services on Postgres too: there, on each embedded server.
func onDatabases(t *testing.T, test func(t *testing.T, w wire)) {
	onBuses(t, test)
	for _, k := range kinds {
		t.Run(k.name+" embedded, Postgres", func(t *testing.T) {
			needPostgres(t)
			t.Parallel()
			test(t, startEmbedded(t, k).wire().onPostgres(t))
		})
	}
}

// onServers runs a test that stops the server: on each backend, on the embedded server, in a process of its own, and,
// where the environment says that there is a real one to be had, on one that the test brings up for itself.
func onServers(t *testing.T, test func(t *testing.T, s server)) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name+" embedded", func(t *testing.T) {
			t.Parallel()
			test(t, startEmbedded(t, k))
		})
		t.Run(k.name+" real", func(t *testing.T) {
			k.needReal(t)
			t.Parallel()
			test(t, startReal(t, k))
		})
	}
}

// onEmbedded runs a test that a real server would tell nothing more of: on each backend's embedded one.
func onEmbedded(t *testing.T, test func(t *testing.T, s *embeddedServer)) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			test(t, startEmbedded(t, k))
		})
	}
}

// needReal skips a test on a laptop, and fails it where a real server has to be there.
func (k kind) needReal(t *testing.T) string {
	t.Helper()
	url := os.Getenv(k.variable)
	if url == "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI is true and %s is not set: eval \"$(.ci/real up)\" first", k.variable)
		}
		t.Skipf("%s is not set: no real %s to test with; see .ci/real", k.variable, k.name)
	}
	return url
}

// needReal is that of Kafka.
func needReal(t *testing.T) string {
	t.Helper()
	return kinds[0].needReal(t)
}

// open connects to the bus as a service does.
func (w wire) open(t *testing.T) bus.Bus {
	t.Helper()
	b, err := bus.Open(t.Context(), w.url, w.backend(), bus.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTime)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return b
}
