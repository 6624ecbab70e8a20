package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/kafka"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	mailerv1 "github.com/tidings-dev/tidings/gen/mailer/v1"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

func TestAServiceThatWasDownCatchesUp(t *testing.T) {
	onKafka(t, func(t *testing.T, url string) {
		s := newStack(t, url)
		ids := s.users.create(t, 0, 50)
		s.agree(t)
		for _, r := range []*service{s.directory, s.audit, s.mailer} {
			r.stop(t)
		}
		s.users.create(t, 50, 250)
		s.users.patch(t, ids[0], map[string]string{"name": "Renamed"})
		s.users.patch(t, ids[0], map[string]string{"name": "Renamed Again"})
		s.users.remove(t, ids[1])
		for _, r := range []*service{s.directory, s.audit, s.mailer} {
			r.start(t)
		}
		s.agree(t)
		versions, err := s.audit.history(t, ids[1])
		if err == nil {
			err = dense(versions, 2)
		}
		if err != nil {
			t.Errorf("a deleted user's history: %v", err)
		}
	})
}

func TestANewServiceAndOneWhoseDatabaseWasDeletedGetEverything(t *testing.T) {
	onKafka(t, func(t *testing.T, url string) {
		s := newStack(t, url)
		ids := s.users.create(t, 0, 100)
		s.users.remove(t, ids[7])
		s.agree(t)

		second := s.service("directory", url, s.users.topic)
		second.db = filepath.Join(s.dir, "second.db")
		second.start(t)
		s.agreeOn(t, second)

		for _, r := range []*service{s.directory, s.audit, s.mailer} {
			r.stop(t)
			r.forget(t)
			r.start(t)
			s.agreeOn(t, r)
		}
		s.users.create(t, 100, 120)
		s.agree(t)
		s.agreeOn(t, second) // two databases are two groups: neither takes from the other
	})
}

func TestAServiceThatIsKilledUnderLoadMissesNothing(t *testing.T) {
	onKafka(t, func(t *testing.T, url string) {
		s := newStack(t, url)
		var load sync.WaitGroup
		load.Go(func() { s.users.create(t, 0, 400) })
		for range 2 {
			for _, r := range []*service{s.directory, s.audit, s.mailer} {
				r.process.kill()
				r.start(t)
			}
		}
		load.Wait()
		s.agree(t)
	})
}

func TestTheOwnerThatIsKilledPublishesWhatItHasAcknowledged(t *testing.T) {
	onKafka(t, func(t *testing.T, url string) {
		s := newStack(t, url)
		for round := range 3 {
			s.users.create(t, round*50, round*50+50)
			s.users.process.kill()
			s.users.start(t)
		}
		s.agree(t)
	})
}

// The article's third question: the broker is gone, everything else is started again meanwhile, and the events arrive
// when it is back.
func TestEventsArriveWhenTheBrokerIsBack(t *testing.T) {
	onBrokers(t, func(t *testing.T, b broker) {
		s := newStack(t, b.URL())
		s.users.create(t, 0, 30)
		s.agree(t)
		b.Kill(t)
		s.users.create(t, 30, 60)
		for _, one := range s.all() {
			one.restart(t)
		}
		ids := s.users.create(t, 60, 90)
		s.users.remove(t, ids[0])
		for _, one := range s.all() {
			one.answers(t)
		}
		b.Start(t)
		s.agree(t)
	})
}

func TestARedeliveredEventChangesNothingAndMailsNobody(t *testing.T) {
	onKafka(t, func(t *testing.T, url string) {
		s := newStack(t, url)
		ids := s.users.create(t, 0, 40)
		s.users.patch(t, ids[3], map[string]string{"name": "Renamed"})
		s.users.remove(t, ids[4])
		s.agree(t)
		mailed := s.mailbox(t)

		again := published(t, url, s.users.topic, 42)
		b := openBus(t, url)
		if err := b.Publish(t.Context(), s.users.topic, append(again, again...)...); err != nil {
			t.Fatal(err)
		}
		// What is written now comes behind what was repeated, on every partition that these fall on.
		s.users.create(t, 40, 100)
		s.agree(t)
		if versions, err := s.audit.history(t, ids[4]); err != nil || dense(versions, 2) != nil {
			t.Errorf("history of a deleted user: %v, %v", versions, err)
		}
		if people, err := s.directory.people(t); err != nil || people[ids[4]] != (user{}) {
			t.Errorf("a deleted user is back: %v, %v", people[ids[4]], err)
		}
		for name, then := range s.mailbox(t) {
			if before, old := mailed[name]; old && !before.Equal(then) {
				t.Errorf("mail %s was written again", name)
			}
		}
		if sent, err := s.mailer.messages(t, mailerv1.Message_STATE_SENT); err != nil || sent[ids[4]] != 1 {
			t.Errorf("%d mails to a user who was deleted later, want 1: %v", sent[ids[4]], err)
		}
	})
}

// mailbox is when each mail in the mailbox was written.
func (s *stack) mailbox(t *testing.T) map[string]time.Time {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "mailbox", "*.eml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no mail in the mailbox: %v", err)
	}
	written := map[string]time.Time{}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		written[file] = info.ModTime()
	}
	return written
}

func openBus(t *testing.T, url string) bus.Bus {
	t.Helper()
	b, err := bus.Open(t.Context(), url, kafka.Backend(), bus.WithLogger(slog.New(slog.DiscardHandler)))
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

// published reads n events back from a topic.
func published(t *testing.T, url, topic string, n int) []bus.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), catchUpTime)
	defer cancel()
	var events []bus.Event
	err := openBus(t, url).Subscribe(ctx, bus.Subscription{Group: "e2e-" + uuid.NewString(), Topics: []string{topic}},
		func(_ context.Context, d bus.Delivery) error {
			if events = append(events, d.Events...); len(events) >= n {
				cancel()
			}
			return nil
		})
	if err != nil || len(events) < n {
		t.Fatalf("%d events of %d came back: %v", len(events), n, err)
	}
	return events
}

// One user's freed e-mail may arrive after another has taken it, for they travel on different partitions.
func TestAFreedAddressMayArriveInEitherOrder(t *testing.T) {
	b := startEmbedded(t)
	const shared = prefix + "shared@example.com"
	for _, freedFirst := range []bool{true, false} {
		t.Run(fmt.Sprintf("freed first %v", freedFirst), func(t *testing.T) {
			s := &stack{dir: t.TempDir()}
			s.directory = s.service("directory", b.URL(), "e2e-"+uuid.NewString())
			s.directory.start(t)
			ada, bob := uuid.Must(uuid.NewV7()).String(), uuid.Must(uuid.NewV7()).String()
			had := created(t, ada, shared)
			freed := updated(t, ada, prefix+"ada@example.com")
			taken := created(t, bob, shared)
			order := []bus.Event{had, freed, taken}
			if !freedFirst {
				order = []bus.Event{had, taken, freed}
			}
			out := openBus(t, b.URL())
			for _, e := range order {
				if err := out.Publish(t.Context(), s.directory.topic, e); err != nil {
					t.Fatal(err)
				}
				s.directory.applied(t, e)
			}
			found, err := call(t, directoryv1.NewDirectoryServiceClient(s.directory.conn).LookupByEmail,
				&directoryv1.LookupByEmailRequest{Email: shared})
			if err != nil || len(found.GetPeople()) != 1 || found.GetPeople()[0].GetId() != bob {
				t.Errorf("LookupByEmail: %v, %v; want %s alone", found, err, bob)
			}
			people, err := s.directory.people(t)
			if err != nil || len(people) != 2 || people[ada].Email != prefix+"ada@example.com" || people[ada].Version != 2 {
				t.Errorf("people %v, %v", people, err)
			}
		})
	}
}

// applied waits, by min_version, until the directory has an event.
func (s *service) applied(t *testing.T, e bus.Event) {
	t.Helper()
	client := directoryv1.NewDirectoryServiceClient(s.conn)
	eventually(t, catchUpTime, func() error {
		_, err := call(t, client.GetPerson, &directoryv1.GetPersonRequest{Id: e.Key, MinVersion: e.Version})
		return err
	})
}

func created(t *testing.T, id, email string) bus.Event {
	t.Helper()
	e, err := bus.NewEvent("/users", id, 1, &eventsv1.UserCreated{User: &eventsv1.User{Id: id, Email: email, Name: "Somebody", Version: 1}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func updated(t *testing.T, id, email string) bus.Event {
	t.Helper()
	e, err := bus.NewEvent("/users", id, 2, &eventsv1.UserUpdated{User: &eventsv1.User{Id: id, Email: email, Name: "Somebody", Version: 2}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// A client can't tell an answer that was lost from a request that was: a retry finds what it made.
func TestARetriedCreateFindsWhatItMade(t *testing.T) {
	s := &stack{dir: t.TempDir()}
	s.users = s.service("users", startEmbedded(t).URL(), "e2e-"+uuid.NewString(), "--door=127.0.0.1:0")
	s.users.start(t)
	id := s.users.createOne(t, address(1), "Ada")
	s.users.process.kill()
	s.users.start(t)
	code, header, body := s.users.write(t, http.MethodPost, "", map[string]string{"email": address(1), "name": "Ada"})
	if want := "/v1/users/" + id; code != http.StatusConflict || header.Get("Location") != want {
		t.Errorf("POST again: %d, Location %q, %s; want 409 and %s", code, header.Get("Location"), body, want)
	}
}
