package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// broker is a Kafka that a test may stop.
type broker interface {
	URL() string
	// Kill ends it as a power cut would; Start brings it back with its log and at its address.
	Kill(t *testing.T)
	Start(t *testing.T)
}

// onBrokers runs a test on the embedded broker, in a process of its own, and, where TIDINGS_TEST_KAFKA says that there
// is one to be had, on a real Kafka that the test brings up for itself.
func onBrokers(t *testing.T, test func(t *testing.T, b broker)) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, startEmbedded(t))
	})
	t.Run("real", func(t *testing.T) {
		needReal(t)
		t.Parallel()
		test(t, startReal(t))
	})
}

// onKafka runs a test that does not stop the broker: on the embedded one, and on the one that TIDINGS_TEST_KAFKA names.
func onKafka(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, startEmbedded(t).URL())
	})
	t.Run("real", func(t *testing.T) {
		url := needReal(t)
		t.Parallel()
		test(t, url)
	})
}

// needReal skips a test on a laptop, and fails it where a real broker has to be there.
func needReal(t *testing.T) string {
	t.Helper()
	url := os.Getenv("TIDINGS_TEST_KAFKA")
	if url == "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI is true and TIDINGS_TEST_KAFKA is not set: eval \"$(.ci/real up)\" first")
		}
		t.Skip("TIDINGS_TEST_KAFKA is not set: no real Kafka to test with; see .ci/real")
	}
	return url
}

// embeddedBroker is the embedded broker in a process of its own.
type embeddedBroker struct {
	dir, addr string
	process   *process
}

func startEmbedded(t *testing.T) *embeddedBroker {
	t.Helper()
	b := &embeddedBroker{dir: t.TempDir(), addr: "127.0.0.1:0"}
	b.Start(t)
	return b
}

func (b *embeddedBroker) URL() string { return "kafka://" + b.addr }

func (b *embeddedBroker) Kill(*testing.T) { b.process.kill() }

func (b *embeddedBroker) Start(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b.process = start(t, self, []string{brokerDirVar + "=" + b.dir, brokerAddrVar + "=" + b.addr})
	b.addr = b.process.await(t, `broker serves at (\S+)`)
}

// realBroker is an Apache Kafka of the test's own.
type realBroker struct {
	dir string
	env []string
	url string
}

func startReal(t *testing.T) *realBroker {
	t.Helper()
	dir := t.TempDir()
	b := &realBroker{dir: dir, env: append(os.Environ(),
		"TIDINGS_REAL_DIR="+dir, "TIDINGS_REAL_KAFKA_PORT="+strconv.Itoa(freePorts(t)))}
	t.Cleanup(func() {
		if out, err := b.real("down", "kafka").CombinedOutput(); err != nil {
			t.Errorf(".ci/real down kafka: %v\n%s", err, out)
		}
	})
	b.Start(t)
	return b
}

// freePorts returns the first of two free ports in a row.
func freePorts(t *testing.T) int {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		next, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port+1))
		_ = l.Close()
		if err == nil {
			_ = next.Close()
			return port
		}
	}
	t.Fatal("no two free ports in a row")
	return 0
}

func (b *realBroker) real(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(root, ".ci", "real"), args...)
	cmd.Env = b.env
	return cmd
}

func (b *realBroker) URL() string { return b.url }

func (b *realBroker) Start(t *testing.T) {
	t.Helper()
	cmd := b.real("up", "kafka")
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf(".ci/real up kafka: %v\n%s", err, log.String())
	}
	_, url, ok := strings.Cut(strings.TrimSpace(out.String()), "TIDINGS_TEST_KAFKA=")
	if !ok {
		t.Fatalf(".ci/real up kafka printed no address: %q", out.String())
	}
	b.url = strings.Trim(url, `'"`)
}

func (b *realBroker) Kill(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.dir, "kafka-1.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() error {
		if syscall.Kill(pid, 0) == nil && !zombie(pid) {
			return fmt.Errorf("process %d is still there", pid)
		}
		return nil
	})
}

// zombie reports whether a process has ended and only waits for its parent to notice.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}
