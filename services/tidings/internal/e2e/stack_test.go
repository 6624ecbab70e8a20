package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// service is one program of the platform and what it needs to be started again as it was.
type service struct {
	stack   *stack
	name    string
	topic   string
	home    string // of its database: the name of the file, or of the schema
	db      string
	listen  string // a port of its own
	door    string // users only
	more    []string
	process *process
	conn    *grpc.ClientConn

	first   *service                // of whom this is a replica, or nil
	replica *service                // that shares the database, or nil
	live    atomic.Pointer[process] // the same as process, for a load that runs while it is started anew
	held    atomic.Bool             // the process is stopped, and answers nobody

	killed  bool    // at least once, so that a lease of the process before may be in the way
	hearing current // a reader's, on a bus that keeps nothing
	since   int     // how many events were written before its database was made
}

// stack is the four services, each a process, or two, with its own database, on one bus and a topic of its own.
type stack struct {
	wire
	users, directory, audit, mailer *service
	dir                             string
	server                          string // the Postgres database that holds a schema of each service; "" for files in dir
	programs                        *programs
	ledger                          ledger
	cut                             bool // the server is gone
	turn                            atomic.Int64
}

// newStack starts all four. On a bus that keeps nothing the readers come first, so that they hear everything, and the
// numbers that it is counted by from the first one on.
func newStack(t *testing.T, w wire) *stack {
	t.Helper()
	s := emptyStack(t, w)
	s.startAll(t)
	return s
}

func (s *stack) startAll(t *testing.T) {
	t.Helper()
	if s.keeps {
		startTogether(t, s.all()...)
		return
	}
	startTogether(t, s.readers()...)
	startTogether(t, s.users)
	for _, r := range s.readers() {
		eventually(t, startTime, func() error { return r.upToDate(t) })
	}
}

// emptyStack starts none.
func emptyStack(t *testing.T, w wire) *stack {
	t.Helper()
	s := &stack{wire: w, dir: t.TempDir(), programs: w.programs()}
	if w.postgres {
		s.server = newDatabase(t)
	}
	s.users = s.service(t, "users", "e2e-"+uuid.NewString())
	s.users.door = ownAddress(t, 1)
	s.users.more = []string{"--door=" + s.users.door}
	s.directory = s.service(t, "directory", s.users.topic)
	s.audit = s.service(t, "audit", s.users.topic)
	s.mailer = s.service(t, "mailer", s.users.topic)
	s.mailer.more = []string{"--mailbox=" + filepath.Join(s.dir, "mailbox")}
	return s
}

func (s *stack) service(t *testing.T, name, topic string) *service {
	t.Helper()
	one := &service{stack: s, name: name, topic: topic, listen: ownAddress(t, 1)}
	one.keepIn(name)
	return one
}

func (s *stack) readers() []*service { return []*service{s.directory, s.audit, s.mailer} }

func (s *stack) all() []*service { return append([]*service{s.users}, s.readers()...) }

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

// start starts the service and waits until it serves, and a reader, on a bus that keeps nothing, until it listens too.
func (s *service) start(t *testing.T) {
	t.Helper()
	if s.hearing.is() == deaf {
		s.stack.published(t)
	}
	s.launch(t)
	s.serves(t)
}

// launch starts the process, and waits for nothing.
func (s *service) launch(t *testing.T) {
	t.Helper()
	s.launchWith(t, nil)
}

// launchWith is launch with something more in the environment, and on the command line, this once.
func (s *service) launchWith(t *testing.T, env []string, more ...string) {
	t.Helper()
	s.process = start(t, s.stack.programs.path(t, s.name), append(s.stack.environment(), env...), slices.Concat([]string{
		"--bus=" + s.stack.url, "--topic=" + s.topic, "--db=" + s.db, "--listen=" + s.listen, "--log-format=json",
	}, s.more, more)...)
	s.live.Store(s.process)
}

// serves waits until a process that was launched does, and listens.
func (s *service) serves(t *testing.T) {
	t.Helper()
	s.process.await(t, `"msg":"serving","service":"`+s.name+`","address":"`+s.listen+`"`)
	s.dial(t)
	s.listens(t)
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

// stop stops the service when it has heard, or told, what was written before.
func (s *service) stop(t *testing.T) {
	t.Helper()
	s.turnsAway(t)
	s.process.stop(t)
}

func (s *service) restart(t *testing.T) {
	t.Helper()
	s.stop(t)
	s.start(t)
}

// kill ends the service at any moment. What was being delivered to it may be lost where the bus keeps nothing.
func (s *service) kill() {
	s.doubt()
	s.primary().killed = true
	s.process.kill()
}

// bus fails unless the service says that its subscription stands.
func (s *service) bus(t *testing.T) error {
	t.Helper()
	answer, err := call(t, healthv1.NewHealthClient(s.conn).Check, &healthv1.HealthCheckRequest{Service: "bus"})
	if err == nil && answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		err = fmt.Errorf("health of its bus is %v", answer.GetStatus())
	}
	return err
}

// catchUpTime is how long services may take until they agree, on a machine that is busy with other tests. A mailer that
// was killed leaves behind what it was sending to whoever has waited for leaseTime.
const (
	catchUpTime = 2 * time.Minute
	leaseTime   = 60 * time.Second
)

// agree waits until every reader holds exactly what the owner has told it.
func (s *stack) agree(t *testing.T) {
	t.Helper()
	s.agreeOn(t, s.readers()...)
}

// agreeOn waits until each of the readers holds exactly what the owner has told it: everything on a bus that keeps what
// it was given. Elsewhere it holds what was published while it listened, lacks the rest, and counts what it lacks to
// the unit; and both holds for what was published while nobody can say whether it listened.
func (s *stack) agreeOn(t *testing.T, readers ...*service) {
	t.Helper()
	told := s.ledger.all()
	s.ownerHas(t, told)
	for _, r := range readers {
		within := catchUpTime
		if r.killed {
			within += leaseTime
		}
		eventually(t, within, func() error {
			for _, one := range r.running() {
				if err := one.agrees(t, told); err != nil {
					return fmt.Errorf("%s at %s: %w", one.name, one.listen, err)
				}
			}
			return nil
		})
		r.hearing.set(hears)
	}
}
