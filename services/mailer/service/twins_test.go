package service_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/bustest"
	"github.com/tidings-dev/tidings/bus/inbox"
	mailerv1 "github.com/tidings-dev/tidings/gen/mailer/v1"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"github.com/tidings-dev/tidings/services/internal/database"
	"github.com/tidings-dev/tidings/services/internal/servicetest"
	"github.com/tidings-dev/tidings/services/mailer/internal/store"
	"github.com/tidings-dev/tidings/services/mailer/service"
)

const (
	v1 = servicetest.V1
	v2 = servicetest.V2
)

// nameOf is what a mail has been called since the first release: by the id of the v1 event, here of a user's version 1.
func nameOf(t *testing.T, u *servicetest.User) string {
	t.Helper()
	return servicetest.Event(t, u.ID, 1, &eventsv1.UserCreated{}).ID
}

// welcomed wants the mailbox to hold one mail, that to u, and returns what it says.
func (r *running) welcomed(u *servicetest.User) string {
	r.t.Helper()
	box, id := r.mailbox(), nameOf(r.t, u)
	m := box[id+".eml"]
	if len(box) != 1 || m == nil {
		r.t.Fatalf("mailbox %v, want one mail, %s.eml", box, id)
	}
	if got := m.Header.Get("Message-ID"); got != "<"+id+"@tidings.example>" {
		r.t.Errorf("Message-ID: %s", got)
	}
	text, err := io.ReadAll(m.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

func TestANewUserIsWelcomedOnceInWhicheverVersionTheEventsCome(t *testing.T) {
	for name, as := range map[string][]servicetest.API{"v1": {v1}, "twins": {v2, v1}, "v2": {v2}} {
		t.Run(name, func(t *testing.T) {
			rec := bustest.NewRecorder()
			r := start(t, rec, newConfig(t))
			u := servicetest.NewUser("ada@example.com", "Ada Lovelace")
			created := u.CreatedAs(t, as...)
			servicetest.Publish(t, rec, created...)
			servicetest.Publish(t, rec, u.UpdatedAs(t, as...)...)
			servicetest.Publish(t, rec, u.DeletedAs(t, as...)...)
			servicetest.Publish(t, rec, created...) // again
			if s := r.CaughtUp(); s.Count != 1 || s.Versions != 3 || s.Dead+s.Ignored+s.Missing != 0 {
				t.Errorf("status %+v; want one message, and version 3", s)
			}
			r.welcomed(u)
			got := r.list(&mailerv1.ListMessagesRequest{})
			if len(got) != 1 || got[0].GetEventId() != created[0].ID || got[0].GetTo() != u.Email || got[0].GetUserId() != u.ID ||
				got[0].GetState() != mailerv1.Message_STATE_SENT || got[0].GetAttempts() != 1 {
				t.Errorf("messages %v, want one, of event %s", got, created[0].ID)
			}
		})
	}
}

func TestPeopleAreGreetedByWhatTheyWantToBeCalled(t *testing.T) {
	family := &eventsv2.PersonName{Given: "Ilona", Family: "Nagy", Order: eventsv2.NameOrder_NAME_ORDER_FAMILY_FIRST}
	for _, c := range []struct {
		about   string
		as      servicetest.API
		display *string
		parts   *eventsv2.PersonName
		want    string
	}{
		{"not told of", v1, nil, nil, "Ilona Nagy"},
		{"none", v1, new(""), nil, "Ilona Nagy"},
		{"one", v1, new("Ili"), nil, "Ili"},
		{"one in v2", v2, new("Ili"), family, "Ili"},
		{"none in v2", v2, new(""), family, "Nagy Ilona"},
		{"not told of in v2", v2, nil, family, "Nagy Ilona"},
		{"an order of a later release", v2, nil, &eventsv2.PersonName{Given: "Ilona", Family: "Nagy", Order: 4711}, "Ilona Nagy"},
	} {
		t.Run(c.about, func(t *testing.T) {
			rec := bustest.NewRecorder()
			r := start(t, rec, newConfig(t))
			u := servicetest.NewUser("ilona@example.com", "Ilona Nagy")
			u.DisplayName, u.Parts = c.display, c.parts
			servicetest.Publish(t, rec, u.CreatedAs(t, c.as)...)
			r.CaughtUp()
			text := r.welcomed(u)
			if want := "Dear " + c.want + ","; len(text) < len(want) || text[:len(want)] != want {
				t.Errorf("the mail says %q, want %q", text, want)
			}
			if to := r.mailbox()[nameOf(t, u)+".eml"].Header.Get("To"); to != `"`+c.want+`" <ilona@example.com>` {
				t.Errorf("To: %s", to)
			}
		})
	}
}

// What a later release has added keeps nobody's mail back.
func TestAnEventOfALaterReleaseIsMailed(t *testing.T) {
	for _, as := range []servicetest.API{v1, v2} {
		rec := bustest.NewRecorder()
		r := start(t, rec, newConfig(t))
		u := servicetest.NewUser("ada@example.com", "Ada Lovelace")
		servicetest.Publish(t, rec, servicetest.Later(t, u.CreatedAs(t, as)[0]), servicetest.Later(t, u.UpdatedAs(t, as)[0]))
		if s := r.CaughtUp(); s.Count != 1 || s.Dead+s.Parked != 0 {
			t.Errorf("status %+v, want one message", s)
		}
		r.welcomed(u)
	}
}

// A mailer that has lost its database mails those again who are new enough: as the same mail, though it takes another
// twin this time, as a release does that reads v1 alone, or one that finds a log without v2.
func TestALostDatabaseMailsAgainAsTheSameMail(t *testing.T) {
	cfg := newConfig(t)
	u := servicetest.NewUser("ada@example.com", "Ada Lovelace")
	twins := u.CreatedAs(t, v2, v1)
	for _, e := range twins {
		rec := bustest.NewRecorder()
		servicetest.Publish(t, rec, e)
		r := start(t, rec, cfg)
		if s := r.CaughtUp(); s.Count != 1 {
			t.Errorf("status %+v, want one message", s)
		}
		r.welcomed(u)
		r.Stop()
		servicetest.RemoveDatabase(t, cfg.DB)
	}
}

// readAsOlder runs a mailer of before v2, whose mails all fail, until one waits for its next try.
func readAsOlder(t *testing.T, rec *bustest.Recorder, cfg service.Config) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	db, err := database.Open(t.Context(), cfg.DB, log, database.ForService("mailer"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Migrate(t.Context(), store.Migrations); err != nil {
		t.Fatal(err)
	}
	st, tried := store.New(db.DB), make(chan struct{}, 1)
	send := func(context.Context, bus.Event, *eventsv1.UserCreated) error {
		return bus.RetryAfter(time.Millisecond, errors.New("the server is away"))
	}
	track := func(ctx context.Context, tx inbox.Tx, e bus.Event, p inbox.Progress) error {
		m := store.Message{EventID: e.ID, UserID: e.Key, To: "ada@example.com", State: string(p.State), Attempts: p.Attempts, CreateTime: p.Time, UpdateTime: p.Time}
		if p.State == inbox.Retrying {
			select {
			case tried <- struct{}{}:
			default:
			}
		}
		return st.Add(ctx, tx, m)
	}
	in, err := inbox.New(inbox.Config{Group: "mailer", Topics: []string{cfg.Topic}, DB: db.DB, Logger: log}, inbox.After(send, inbox.Track(track)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := servicetest.Over(rec)(t.Context(), "", log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx, b) }()
	select {
	case <-tried:
	case <-time.After(servicetest.Soon):
		t.Error("it took too long until the first try")
	}
	stop()
	if err := errors.Join(<-ended, b.Close(t.Context())); err != nil {
		t.Error(err)
	}
}

// What an older release has queued, and may have sent, goes out under the name that it had there.
func TestAMailThatAnOlderReleaseHasQueuedIsTheSameMail(t *testing.T) {
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	u := servicetest.NewUser("ada@example.com", "Ada Lovelace")
	e := u.Created(t)
	servicetest.Publish(t, rec, e)
	readAsOlder(t, rec, cfg)
	r := start(t, rec, cfg)
	r.CaughtUp()
	r.welcomed(u)
	got := r.list(&mailerv1.ListMessagesRequest{})
	if len(got) != 1 || got[0].GetEventId() != e.ID || got[0].GetState() != mailerv1.Message_STATE_SENT || got[0].GetAttempts() < 2 {
		t.Errorf("messages %v, want one, sent at a second try or later", got)
	}
}

// A mailer that knows v1 alone passes over v2's twin, and mails for v1's; the next release does not mail again.
func TestAnUpgradeBetweenTwinsMailsOnce(t *testing.T) {
	rec, cfg := bustest.NewRecorder(), newConfig(t)
	u := servicetest.NewUser("ada@example.com", "Ada Lovelace")
	twins := u.CreatedAs(t, v2, v1)
	servicetest.Publish(t, rec, twins...)
	readAsOlder(t, rec, cfg)
	servicetest.Publish(t, rec, twins...)
	r := start(t, rec, cfg)
	if s := r.CaughtUp(); s.Count != 1 || s.Versions != 1 {
		t.Errorf("status %+v, want one message", s)
	}
	r.welcomed(u)
	if got := r.list(&mailerv1.ListMessagesRequest{}); len(got) != 1 || got[0].GetEventId() != twins[1].ID {
		t.Errorf("messages %v, want that of the v1 event", got)
	}
}
