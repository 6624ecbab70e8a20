package hostile

import (
	"bytes"
	"database/sql"
	"flag"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	audit "github.com/tidings-dev/tidings/services/audit/service"
	directory "github.com/tidings-dev/tidings/services/directory/service"
	"github.com/tidings-dev/tidings/services/internal/program"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
)

// replay is how many events the services read: with a million it takes some minutes. The few of the default show that all
// are read, and what is held in any case; with the race detector, which takes so much longer, there are fewer still.
var replay = flag.Int("replay", 40_000/raceFactor, "how many events TestAReplayNeedsNoMoreMemoryThanIsStated puts on the log")

// memoryBound is what the package's documentation states, in kB.
const memoryBound = 256 << 10

// versionsEach is how many events each user of the replay has.
const versionsEach = 10

// childVar makes this test's program a service, so that its memory is its own.
const childVar = "TIDINGS_HOSTILE_CHILD"

// child is the service.
func child() int {
	run := directory.Main
	if os.Getenv(childVar) == "audit" {
		run = audit.Main
	}
	return program.Main(program.OS(os.Getenv(childVar)), run)
}

func TestAReplayNeedsNoMoreMemoryThanIsStated(t *testing.T) {
	servicetest.SQLiteOnly(t, "what is bounded is the reading, and it is the same there")
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("memory is read from /proc, which this system has not")
	}
	t.Setenv("TIDINGS_TEST_KAFKA", "") // a million events are for a broker of the test's own
	url, topic := servicetest.KafkaURL(t), servicetest.NewTopic()
	began := time.Now()
	servicetest.PublishTo(t, openBus(t, url), topic, servicetest.NewUser("first@example.org", "First").Created(t)) // makes the topic
	produce(t, url, history(t, topic, *replay-1))
	t.Logf("%d events are on the log after %v", *replay, time.Since(began).Round(time.Millisecond))
	for _, name := range []string{"directory", "audit"} {
		t.Run(name, func(t *testing.T) {
			s := startChild(t, name, url, topic)
			began := time.Now()
			s.reads(t, *replay)
			took := time.Since(began)
			peak := s.memory(t, "VmHWM")
			t.Logf("%d events in %v (%.0f/s): %d MB at the most", *replay, took.Round(time.Millisecond),
				float64(*replay)/took.Seconds(), peak>>10)
			if peak > raceFactor*memoryBound {
				t.Errorf("it took %d MB, and %d MB is what is stated", peak>>10, raceFactor*memoryBound>>10)
			}
			s.stop(t)
		})
	}
}

// Of the largest events that there can be a delivery takes fewer, and so do those that are read ahead.
func TestAReplayOfHugeEventsNeedsNoMoreMemoryThanIsStated(t *testing.T) {
	servicetest.SQLiteOnly(t, "what is bounded is the reading, and it is the same there")
	const n = 350
	t.Setenv("TIDINGS_TEST_KAFKA", "")
	url, topic := servicetest.KafkaURL(t), servicetest.NewTopic()
	servicetest.PublishTo(t, openBus(t, url), topic, servicetest.NewUser("first@example.org", "First").Created(t)) // makes the topic
	produce(t, url, func(yield func(*kgo.Record) bool) {
		for i := range n - 1 {
			e := servicetest.Event(t, fmt.Sprint("huge ", i), 1, &eventsv1.UserDeleted{})
			e.Type, e.Data = "users.events.v9.UserSaid", make([]byte, big)
			headers := []kgo.RecordHeader{{Key: "content-type", Value: []byte(bus.TypeEnvelope)}}
			if !yield(&kgo.Record{Topic: topic, Key: []byte(e.Key), Value: e.AppendEnvelope(nil), Headers: headers}) {
				return
			}
		}
	})
	s := startChild(t, "directory", url, topic)
	s.reads(t, n)
	peak := s.memory(t, "VmHWM")
	t.Logf("%d events of %d kB: %d MB at the most", n, big/1000, peak>>10)
	if peak > raceFactor*memoryBound {
		t.Errorf("it took %d MB, and %d MB is what is stated", peak>>10, raceFactor*memoryBound>>10)
	}
	s.stop(t)
}

// history is n events of users, all first versions before all second ones, and so on.
func history(t *testing.T, topic string, n int) iter.Seq[*kgo.Record] {
	users := make([]*servicetest.User, (n+versionsEach-1)/versionsEach)
	for i := range users {
		users[i] = servicetest.NewUser(fmt.Sprintf("user%d@example.org", i), fmt.Sprintf("User Number%d", i))
	}
	return func(yield func(*kgo.Record) bool) {
		for i := range n {
			u := users[i%len(users)]
			e := u.Updated(t, u.Email, u.Name)
			headers := []kgo.RecordHeader{{Key: "content-type", Value: []byte(bus.TypeEnvelope)}}
			if !yield(&kgo.Record{Topic: topic, Key: []byte(u.ID), Value: e.AppendEnvelope(nil), Headers: headers}) {
				return
			}
		}
	}
}

// childProcess is a service in a process of its own.
type childProcess struct {
	cmd    *exec.Cmd
	db     string
	out    bytes.Buffer
	exited chan struct{}
}

// startChild starts a service with an empty database.
func startChild(t *testing.T, name, url, topic string) *childProcess {
	t.Helper()
	s := &childProcess{db: filepath.Join(t.TempDir(), name+".db"), exited: make(chan struct{})}
	s.cmd = exec.Command(os.Args[0], "--bus="+url, "--topic="+topic, "--db="+s.db, "--listen=127.0.0.1:0")
	s.cmd.Env = append(os.Environ(), childVar+"="+name)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(s.exited)
		_ = s.cmd.Wait() // the state says how it ended
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // it may be gone
		<-s.exited
		if t.Failed() {
			t.Logf("it printed:\n%s", s.out.String())
		}
	})
	return s
}

// reads waits until the service has taken n events in, by the positions in its database.
func (s *childProcess) reads(t *testing.T, n int) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+s.db+"?mode=ro&_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	servicetest.Await(t, time.Minute+time.Duration(n/1000)*time.Second, 50*time.Millisecond, "the whole log", func() (bool, any) {
		var next int
		// While the service starts there is no such table yet.
		err := db.QueryRowContext(t.Context(), `SELECT COALESCE(SUM(next), 0) FROM tidings_inbox_position`).Scan(&next)
		return err == nil && next == n, fmt.Sprint(next, " events, ", err)
	})
}

// memory reads a figure of the process, in kB.
func (s *childProcess) memory(t *testing.T, name string) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^` + name + `:\s+(\d+) kB$`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no %s in %s", name, b)
	}
	kB, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kB
}

// stop asks the service to end, which it has to do with exit code 0.
func (s *childProcess) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.exited:
		if code := s.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("exit %d", code)
		}
	case <-time.After(servicetest.Soon):
		t.Error("it did not stop")
	}
}
