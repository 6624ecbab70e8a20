package soak

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	length  = flag.Duration("soak", 0, "how long a soak has faults; 0 is a short one on each broker that there is")
	seed    = flag.Uint64("seed", 1, "the seed of a soak's plan; 0 is another one each time")
	onto    = flag.String("soak.db", "sqlite", "the databases of -soak: sqlite, or postgres, which TIDINGS_TEST_POSTGRES names, with two replicas of each service")
	broker  = flag.String("soak.kafka", "cluster", "the brokers of -soak: cluster, which is three real ones, or embedded")
	told    = flag.String("soak.events", "v1", "the versions in which users tells of a change in -soak: v1, v2,v1 (twins of each change) or v2")
	writers = flag.Int("soak.writers", 0, "how many writers a soak has; 0 is 8")
)

// The short soaks: long enough for every fault to come once.
const (
	shortLength   = 5 * time.Second
	clusterLength = 9 * time.Second
)

// root is the repository, as seen from this package's folder, where tests run.
const root = "../../../.."

// A soak of a platform finds no promise broken. With -soak it is one of that length; without, short ones: on the embedded
// broker and SQLite, with twins of each change, and, where the environment names a real Kafka, on a real cluster of three brokers of its own, with
// two replicas of each service where it names a Postgres too.
func TestSoak(t *testing.T) {
	if *length > 0 {
		cfg := Config{Length: *length, Postgres: longDatabase(t), Events: *told}
		if *broker != "embedded" {
			cfg.Jars = jars(t)
		}
		soak(t, cfg)
		return
	}
	t.Run("embedded broker, SQLite", func(t *testing.T) { soak(t, Config{Length: shortLength, Writers: 4, Events: "v2,v1"}) })
	t.Run("cluster of three", func(t *testing.T) {
		if os.Getenv("TIDINGS_TEST_KAFKA") == "" {
			if os.Getenv("CI") == "true" {
				t.Fatal("CI is true and TIDINGS_TEST_KAFKA is not set: eval \"$(.ci/real up)\" first")
			}
			t.Skip("TIDINGS_TEST_KAFKA is not set: no real Kafka to make a cluster of; see .ci/real")
		}
		soak(t, Config{Length: clusterLength, Writers: 4, Jars: jars(t), Postgres: os.Getenv("TIDINGS_TEST_POSTGRES")})
	})
}

// longDatabase is what -soak.db means.
func longDatabase(t *testing.T) string {
	t.Helper()
	switch *onto {
	case "sqlite":
		return ""
	case "postgres":
		if url := os.Getenv("TIDINGS_TEST_POSTGRES"); url != "" {
			return url
		}
		t.Fatal("-soak.db=postgres: TIDINGS_TEST_POSTGRES is not set: eval \"$(.ci/real up postgres)\" first")
	}
	t.Fatalf("-soak.db=%s: pass sqlite or postgres", *onto)
	return ""
}

// besides is how long a run may take beside its faults.
const besides = 5 * time.Minute

// soak makes a run. Of one that fails the logs stay, and the test says where.
func soak(t *testing.T, cfg Config) {
	t.Helper()
	// go test would end it in the middle, and everything that it has found out would be lost.
	if end, limited := t.Deadline(); limited && time.Until(end) < cfg.Length+besides {
		t.Fatalf("a soak of %v takes longer than this test may: pass -timeout %v, or more", cfg.Length, cfg.Length+besides+time.Minute)
	}
	var err error
	if cfg.Self, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	if cfg.Dir, err = os.MkdirTemp("", "tidings-soak-"); err != nil {
		t.Fatal(err)
	}
	if cfg.Seed = *seed; cfg.Seed == 0 {
		cfg.Seed = uint64(time.Now().UnixNano())
	}
	if *writers > 0 {
		cfg.Writers = *writers
	}
	cfg.Out = t.Output()
	err = Run(t.Context(), cfg)
	if err == nil && !t.Failed() {
		_ = os.RemoveAll(cfg.Dir) // a folder for temporary files
		return
	}
	t.Errorf("%v\nseed %d; what services and brokers printed, and the databases, are in %s", err, cfg.Seed, cfg.Dir)
	for i := range 3 { // they are large, and tell nothing
		_ = os.RemoveAll(filepath.Join(cfg.Dir, "data", fmt.Sprintf("kafka-%d", i+1)))
	}
}

// jars is the folder with the packages of Apache Kafka, which .ci/real downloads unless they are there.
func jars(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(root, ".ci", "real"), "jars")
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf(".ci/real jars: %v\n%s", err, log.String())
	}
	return strings.TrimSpace(out.String())
}

func TestTheResultNamesTheFirstFewViolations(t *testing.T) {
	var f findings
	for i := range 2 * shown {
		f.add(noneMissing, "user %d is missing", i)
	}
	f.add(equal, "something differs")
	text := f.String()
	if f.len() != 2*shown+1 || !strings.Contains(text, noneMissing+" (10 times)") || strings.Contains(text, "user 7") || !strings.Contains(text, "something differs") {
		t.Errorf("%d violations are told as\n%s", f.len(), text)
	}
	if err := fmt.Errorf("%w: %v", ErrViolated, &f); !errors.Is(err, ErrViolated) {
		t.Error(err)
	}
}
