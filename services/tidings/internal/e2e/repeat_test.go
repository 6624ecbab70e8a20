package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tidings-dev/tidings/bus"
	directoryv1 "github.com/tidings-dev/tidings/gen/directory/v1"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
)

// An event that comes again changes nothing and mails nobody, on any bus; nor does it count as missed or late.
func TestARedeliveredEventChangesNothingAndMailsNobody(t *testing.T) {
	onBuses(t, func(t *testing.T, w wire) {
		s := newStack(t, w)
		b := w.open(t)
		heard := s.overhear(t, b)
		ids := s.create(t, 0, 40)
		s.rename(t, ids[3], "Renamed")
		s.remove(t, ids[4])
		s.agree(t)
		mailed := s.mailbox(t)

		again := heard(42)
		if err := b.Publish(t.Context(), s.users.topic, append(again, again...)...); err != nil {
			t.Fatal(err)
		}
		// What is written now comes behind what was repeated, on every partition that these fall on.
		s.create(t, 40, 100)
		s.agree(t)
		for _, r := range s.readers() {
			r.hasMissed(t, 0)
		}
		for name, then := range s.mailbox(t) {
			if before, old := mailed[name]; old && !before.Equal(then) {
				t.Errorf("mail %s was written again", name)
			}
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

// overhear reads what is published to the topic from now on, as one more reader would, until the test ends. The
// function that it returns waits until there are n events.
func (s *stack) overhear(t *testing.T, b bus.Bus) func(n int) []bus.Event {
	t.Helper()
	ready := make(chan struct{})
	var once sync.Once
	var mu sync.Mutex
	var events []bus.Event
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- b.Subscribe(ctx, bus.Subscription{
			Group: "e2e-" + uuid.NewString(), Topics: []string{s.users.topic},
			OnReady: func(stands bool) {
				if stands {
					once.Do(func() { close(ready) })
				}
			},
		}, func(_ context.Context, d bus.Delivery) error {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, d.Events...)
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("overhearing: %v", err)
		}
	})
	<-ready
	return func(n int) (all []bus.Event) {
		eventually(t, catchUpTime, func() error {
			mu.Lock()
			defer mu.Unlock()
			if all = slices.Clone(events); len(all) < n {
				return fmt.Errorf("%d events of %d were heard", len(all), n)
			}
			return nil
		})
		return all
	}
}

// One user's freed e-mail may arrive after another has taken it, for they travel on different partitions.
func TestAFreedAddressMayArriveInEitherOrder(t *testing.T) {
	const shared = prefix + "shared@example.com"
	onEmbedded(t, func(t *testing.T, b *embeddedServer) {
		for _, freedFirst := range []bool{true, false} {
			t.Run(fmt.Sprintf("freed first %v", freedFirst), func(t *testing.T) {
				s := emptyStack(t, b.wire())
				s.directory.start(t)
				ada, bob := uuid.Must(uuid.NewV7()).String(), uuid.Must(uuid.NewV7()).String()
				had := created(t, ada, shared)
				freed := updated(t, ada, prefix+"ada@example.com")
				taken := created(t, bob, shared)
				order := []bus.Event{had, freed, taken}
				if !freedFirst {
					order = []bus.Event{had, taken, freed}
				}
				out := b.wire().open(t)
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
	})
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
