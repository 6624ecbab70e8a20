package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// service is one program of the platform and what it needs to be started again as it was.
type service struct {
	name    string
	bus     string
	topic   string
	db      string
	listen  string // a port of its own from the first start on
	door    string // users only
	more    []string
	process *process
	conn    *grpc.ClientConn
}

// stack is the four services, each a process with its own database, on one broker and a topic of its own.
type stack struct {
	users, directory, audit, mailer *service
	dir                             string
}

// newStack starts all four.
func newStack(t *testing.T, bus string) *stack {
	t.Helper()
	s := &stack{dir: t.TempDir()}
	topic := "e2e-" + uuid.NewString()
	s.users = s.service("users", bus, topic, "--door=127.0.0.1:0")
	s.directory = s.service("directory", bus, topic)
	s.audit = s.service("audit", bus, topic)
	s.mailer = s.service("mailer", bus, topic, "--mailbox="+filepath.Join(s.dir, "mailbox"))
	for _, one := range s.all() {
		one.start(t)
	}
	return s
}

func (s *stack) service(name, bus, topic string, more ...string) *service {
	return &service{
		name: name, bus: bus, topic: topic, listen: "127.0.0.1:0", more: more,
		db: filepath.Join(s.dir, name+".db"),
	}
}

func (s *stack) all() []*service { return []*service{s.users, s.directory, s.audit, s.mailer} }

// others are all but one, which may be nil.
func (s *stack) others(one *service) []*service {
	var all []*service
	for _, other := range s.all() {
		if other != one {
			all = append(all, other)
		}
	}
	return all
}

// start starts the service and waits until it serves. The ports that it picked at first stay its own.
func (s *service) start(t *testing.T) {
	t.Helper()
	s.process = start(t, binary(t, s.name), nil, append([]string{
		"--bus=" + s.bus, "--topic=" + s.topic, "--db=" + s.db, "--listen=" + s.listen, "--log-format=json",
	}, s.more...)...)
	s.listen = s.process.await(t, `"msg":"serving","service":"\w+","address":"([^"]+)"`)
	if s.name == "users" {
		s.door = s.process.await(t, `"msg":"serving",.*"door":"([^"]+)"`)
		s.more = []string{"--door=" + s.door}
	}
	s.dial(t)
}

func (s *service) dial(t *testing.T) {
	t.Helper()
	if s.conn != nil {
		_ = s.conn.Close() // to the process before
	}
	var err error
	if s.conn, err = grpc.NewClient(s.listen, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	conn := s.conn
	t.Cleanup(func() { _ = conn.Close() })
}

func (s *service) stop(t *testing.T) {
	t.Helper()
	s.process.stop(t)
}

func (s *service) restart(t *testing.T) {
	t.Helper()
	s.stop(t)
	s.start(t)
}

// forget deletes the database, as somebody does who wants it filled anew. The service must be stopped.
func (s *service) forget(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob(s.db + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no database at %s: %v", s.db, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".lock") {
			continue
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
}

// catchUpTime is how long services may take until they agree, on a machine that is busy with other tests.
const catchUpTime = 60 * time.Second

// agree waits until every reader holds exactly what the owner holds.
func (s *stack) agree(t *testing.T) {
	t.Helper()
	s.agreeOn(t, s.directory, s.audit, s.mailer)
}

// agreeOn waits until the given readers hold exactly what the owner holds.
func (s *stack) agreeOn(t *testing.T, readers ...*service) {
	t.Helper()
	want := s.owned(t)
	eventually(t, catchUpTime, func() error {
		for _, r := range readers {
			if err := r.holds(t, want); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
		}
		return nil
	})
}
