package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	mailerv1 "github.com/tidings-dev/tidings/gen/mailer/v1"
)

// startTwice starts all services, and those named twice, on a database that is still empty, at the same moment.
func (s *stack) startTwice(t *testing.T, services ...*service) {
	t.Helper()
	s.url += s.partitions
	for _, one := range services {
		one.double(t)
	}
	s.startAll(t)
}

// double gives the service a replica: another process on the same database, with addresses of its own.
func (s *service) double(t *testing.T) {
	t.Helper()
	r := s.stack.service(t, s.name, s.topic)
	r.keepIn(s.home)
	r.more = s.more
	if s.owns() {
		r.door = ownAddress(t, 1)
		r.more = []string{"--door=" + r.door}
	}
	r.first, s.replica = s, r
}

// startTogether launches services and their replicas, and then waits until all serve.
func startTogether(t *testing.T, services ...*service) {
	t.Helper()
	var all []*service
	for _, s := range services {
		all = append(all, s.both()...)
	}
	for _, s := range all {
		s.launch(t)
	}
	for _, s := range all {
		s.serves(t)
	}
}

// owns reports whether it is the owner, or a replica of it.
func (s *service) owns() bool { return s.name == s.stack.users.name }

// primary is whom the ledger knows: the first of the replicas.
func (s *service) primary() *service {
	if s.first != nil {
		return s.first
	}
	return s
}

// both are the service and its replica, if it has one.
func (s *service) both() []*service {
	all := []*service{s.primary()}
	if r := s.primary().replica; r != nil {
		all = append(all, r)
	}
	return all
}

// other is the other one of two.
func (s *service) other() *service {
	if s.first != nil {
		return s.first
	}
	return s.replica
}

// running are those of both that can answer.
func (s *service) running() (all []*service) {
	for _, one := range s.both() {
		if p := one.live.Load(); p != nil && p.running() && !one.held.Load() {
			all = append(all, one)
		}
	}
	return all
}

// covered reports whether a replica goes on when this process doesn't.
func (s *service) covered() bool {
	for _, one := range s.running() {
		if one != s {
			return true
		}
	}
	return false
}

// any is one that can answer, another one each time.
func (s *service) any() *service {
	all := s.running()
	if len(all) == 0 {
		return s // whose absence is then the error
	}
	return all[int(s.stack.turn.Add(1))%len(all)]
}

// hold stops the process where it stands, as a machine does that swaps, or that is moved.
func (s *service) hold(t *testing.T) {
	t.Helper()
	s.held.Store(true)
	s.process.signal(t, syscall.SIGSTOP)
}

// release lets it go on.
func (s *service) release(t *testing.T) {
	t.Helper()
	s.process.signal(t, syscall.SIGCONT)
	s.held.Store(false)
}

// post creates a user. Where there are replicas it does as a client behind a load balancer: what one doesn't answer is
// sent to another, and if it was stored after all, that one's 409 says where.
func (s *stack) post(t *testing.T, body map[string]string) (code int, header http.Header, answer []byte) {
	t.Helper()
	if s.users.replica == nil {
		return s.users.write(t, http.MethodPost, "", body)
	}
	again := false
	for end := time.Now().Add(catchUpTime); time.Now().Before(end); again = true {
		var err error
		code, header, answer, err = s.users.any().tryWrite(t, http.MethodPost, "", body)
		switch {
		case err != nil || code == http.StatusServiceUnavailable:
			continue
		case code == http.StatusConflict && again:
			code = http.StatusCreated
		}
		break
	}
	return code, header, answer
}

// leader is the one of both that relays, by the lease in the database and by what it has said of itself.
func (s *stack) leader(t *testing.T) (leads *service) {
	t.Helper()
	eventually(t, startTime, func() error {
		holder := s.users.ask(t, `SELECT holder FROM tidings_outbox_relay`)
		for _, one := range s.users.both() {
			if holder != "" && strings.Contains(one.process.out.String(), `"holder":"`+holder+`"`) {
				leads = one
				return nil
			}
		}
		return fmt.Errorf("the lease is held by %q, which is none of both", holder)
	})
	return leads
}

// leads waits until this one relays.
func (s *service) leads(t *testing.T) {
	t.Helper()
	eventually(t, catchUpTime, func() error {
		if s.stack.leader(t) != s {
			return errors.New("the other one relays still")
		}
		return nil
	})
}

// mailedOnce fails the test unless each mail was sent at its first attempt, and stands in the mailbox once.
func (s *stack) mailedOnce(t *testing.T, n int) {
	t.Helper()
	for _, one := range s.mailer.running() {
		attempts, err := one.attempts(t)
		if err != nil || len(attempts) != n {
			t.Fatalf("%d mails were sent, want %d: %v", len(attempts), n, err)
		}
		for id, many := range attempts {
			if many != 1 {
				t.Errorf("the mail of event %s took %d attempts, and nobody died", id, many)
			}
		}
	}
	if box := s.mailbox(t); len(box) != n {
		t.Errorf("the mailbox holds %d mails, want %d", len(box), n)
	}
	if rest, err := filepath.Glob(filepath.Join(s.dir, "mailbox", ".writing-*")); err != nil || len(rest) != 0 {
		t.Errorf("left in the mailbox: %v, %v", rest, err)
	}
}

// attempts is how often each mail that was sent was tried, by event.
func (s *service) attempts(t *testing.T) (map[string]int32, error) {
	t.Helper()
	all := map[string]int32{}
	client, token := mailerv1.NewMailerServiceClient(s.conn), ""
	for {
		resp, err := call(t, client.ListMessages, &mailerv1.ListMessagesRequest{
			State: mailerv1.Message_STATE_SENT, PageSize: 1000, PageToken: token,
		})
		if err != nil {
			return nil, err
		}
		for _, m := range resp.GetMessages() {
			all[m.GetEventId()] += m.GetAttempts()
		}
		if token = resp.GetNextPageToken(); token == "" {
			return all, nil
		}
	}
}
