package service_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	mailerv1 "github.com/tidings-dev/tidings/gen/mailer/v1"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/mailer/internal/smtptest"
	"github.com/tidings-dev/tidings/services/mailer/service"
)

// startTwo starts two mailers that share a database, together, as after an outage.
func startTwo(t *testing.T, rec *bustest.Recorder, cfg service.Config) (both [2]*running) {
	t.Helper()
	servicetest.PostgresOnly(t, "a SQLite file has one process")
	var all sync.WaitGroup
	for i := range both {
		all.Go(func() { both[i] = start(t, rec, cfg) })
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return both
}

// people are the events of n new users.
func people(t *testing.T, from, n int) (events []bus.Event) {
	t.Helper()
	for i := range n {
		events = append(events, created(t, fmt.Sprintf("%d@example.com", from+i), "Some One"))
	}
	return events
}

// mailedOnce checks that the server was given the mail of each event once, and that each is known as sent at its first
// attempt, whoever is asked.
func mailedOnce(t *testing.T, srv *smtptest.Server, events []bus.Event, replicas ...*running) {
	t.Helper()
	for i, r := range replicas {
		r.CaughtUp()
		attempts := map[string]int32{}
		for _, m := range r.list(&mailerv1.ListMessagesRequest{State: mailerv1.Message_STATE_SENT}) {
			attempts[m.GetEventId()] += m.GetAttempts()
		}
		for _, e := range events {
			if attempts[e.ID] != 1 {
				t.Errorf("replica %d: %d attempts at the mail of event %s, want one", i, attempts[e.ID], e.ID)
			}
		}
		if len(attempts) != len(events) {
			t.Errorf("replica %d has %d messages sent, want %d", i, len(attempts), len(events))
		}
	}
	given := map[string]int{}
	for _, m := range srv.Mails() {
		text, _ := read(t, m.Text)
		given[strings.Trim(text.Header.Get("Message-ID"), "<>")]++
	}
	for _, e := range events {
		if n := given[e.ID+"@tidings.example"]; n != 1 {
			t.Errorf("the server was given the mail of event %s %d times", e.ID, n)
		}
	}
}

func TestReplicasQueueEachEventOnceAndSendEachMailOnce(t *testing.T) {
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true})
	rec := bustest.NewRecorder()
	both := startTwo(t, rec, smtpConfig(t, srv, "connections", "4"))
	const half = 80
	events := people(t, 0, half)
	for i := 0; i < half; i += 10 {
		servicetest.Publish(t, rec, events[i:i+10]...)
		servicetest.Publish(t, rec, events[i:i+5]...) // again
	}
	mailedOnce(t, srv, events, both[:]...)

	more := people(t, half, half)
	servicetest.Publish(t, rec, more...)
	both[0].Stop() // in the middle of it, and it takes its time to finish what it has in hand
	mailedOnce(t, srv, append(events, more...), both[1])
}

// A mail that is refused for now waits for whichever replica is free then.
func TestAMailIsTriedAgainByEitherReplica(t *testing.T) {
	var mu sync.Mutex
	refused := map[string]bool{}
	srv := smtptest.Start(t, smtptest.Answers{NoTLS: true, Open: true, To: func(to string) error {
		mu.Lock()
		defer mu.Unlock()
		if refused[to] {
			return nil
		}
		refused[to] = true
		return smtptest.Refuse(451, [3]int{4, 7, 1}, "Greylisted, come again")
	}})
	rec := bustest.NewRecorder()
	both := startTwo(t, rec, smtpConfig(t, srv))
	events := people(t, 0, 30)
	servicetest.Publish(t, rec, events...)
	for i, r := range both {
		r.CaughtUp()
		all := r.list(&mailerv1.ListMessagesRequest{State: mailerv1.Message_STATE_SENT})
		for _, m := range all {
			if m.GetAttempts() != 2 {
				t.Errorf("replica %d: message %v, want a second attempt that was the last", i, m)
			}
		}
		if len(all) != len(events) {
			t.Errorf("replica %d has %d messages sent, want %d", i, len(all), len(events))
		}
	}
	if n := len(srv.Mails()); n != len(events) {
		t.Errorf("the server took %d mails, want %d", n, len(events))
	}
}
