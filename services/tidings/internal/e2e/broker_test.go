package e2e

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus/embedded"
)

// server is a Kafka or a Redis that a test may stop.
type server interface {
	wire() wire
	// Kill ends it as a power cut would; Start brings it back at its address, with its log if it keeps one.
	Kill(t *testing.T)
	Start(t *testing.T)
}

// These tell a child of the test which embedded server it is to be.
const (
	serverVar     = "TIDINGS_E2E_SERVER"
	serverDirVar  = "TIDINGS_E2E_SERVER_DIR"
	serverAddrVar = "TIDINGS_E2E_SERVER_ADDR"
)

// serve is the embedded server in a process of its own.
func serve(name, dir, addr string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	type closer interface {
		URL() string
		Close(context.Context) error
	}
	var s closer
	var err error
	if name == "kafka" {
		s, err = embedded.StartKafka(ctx, embedded.KafkaConfig{Addr: addr, Dir: dir})
	} else {
		s, err = embedded.StartRedis(ctx, embedded.RedisConfig{Addr: addr, Log: slog.New(slog.DiscardHandler)})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("serves", s.URL())
	<-ctx.Done()
	within, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Close(within); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// embeddedServer is an embedded server in a process of its own.
type embeddedServer struct {
	kind
	dir, addr string
	url       string
	process   *process
}

func startEmbedded(t *testing.T, k kind) *embeddedServer {
	t.Helper()
	s := &embeddedServer{kind: k, dir: t.TempDir(), addr: ownAddress(t, 1)}
	s.Start(t)
	return s
}

func (s *embeddedServer) wire() wire { return wire{kind: s.kind, url: s.url} }

func (s *embeddedServer) Kill(*testing.T) { s.process.kill() }

func (s *embeddedServer) Start(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s.process = start(t, self, []string{serverVar + "=" + s.name, serverDirVar + "=" + s.dir, serverAddrVar + "=" + s.addr})
	s.url = s.process.await(t, `serves (\S+)`)
}

// realServer is an Apache Kafka or a Redis of the test's own.
type realServer struct {
	kind
	dir string
	env []string
	url string
}

func startReal(t *testing.T, k kind) *realServer {
	t.Helper()
	dir := t.TempDir()
	s := &realServer{kind: k, dir: dir, env: append(os.Environ(),
		"TIDINGS_REAL_DIR="+dir, k.port+"="+port(ownAddress(t, 2)),
		"TIDINGS_REAL_KAFKA_SESSION=6000")} // one that was killed is not let in before
	t.Cleanup(func() {
		if out, err := s.real("down", k.name).CombinedOutput(); err != nil {
			t.Errorf(".ci/real down %s: %v\n%s", k.name, err, out)
		}
	})
	s.Start(t)
	return s
}

func (s *realServer) real(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(root, ".ci", "real"), args...)
	cmd.Env = s.env
	return cmd
}

func (s *realServer) wire() wire { return wire{kind: s.kind, url: s.url, real: true} }

func (s *realServer) Start(t *testing.T) {
	t.Helper()
	cmd := s.real("up", s.name)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Run(); err != nil {
		t.Fatalf(".ci/real up %s: %v\n%s", s.name, err, log.String())
	}
	_, address, ok := strings.Cut(strings.TrimSpace(out.String()), s.variable+"=")
	if !ok {
		t.Fatalf(".ci/real up %s printed no address: %q", s.name, out.String())
	}
	s.url = strings.Trim(address, `'"`)
}

func (s *realServer) Kill(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, s.pid))
	if err != nil {
		t.Fatal(err)
	}
	number, _, _ := strings.Cut(string(text), " ") // behind it, when it was started
	pid, err := strconv.Atoi(strings.TrimSpace(number))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, startTime, func() error {
		if syscall.Kill(pid, 0) == nil && !zombie(pid) {
			return fmt.Errorf("process %d is still there", pid)
		}
		return s.silent(t)
	})
}

// silent returns an error if somebody still accepts connections at the server's address. A process whose threads are
// still ending passes for a zombie, and has its sockets.
func (s *realServer) silent(t *testing.T) error {
	t.Helper()
	at, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTimeout("tcp", at.Host, time.Second)
	if err != nil {
		return nil
	}
	_ = conn.Close()
	return fmt.Errorf("somebody still listens at %s", at.Host)
}

// zombie reports whether a process has ended and only waits for its parent to notice.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}
