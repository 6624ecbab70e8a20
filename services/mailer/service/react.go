package service

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/inbox"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"github.com/tidings-dev/tidings/services/internal/userevents"
	"github.com/tidings-dev/tidings/services/mailer/internal/store"
)

// Mail is a mail to be sent.
type Mail struct {
	ID       string // the same mail always has the same, whichever twin of its event has caused it
	From     string // with or without a display name
	To       string // the bare address
	Name     string // what they are called
	Subject  string
	Text     string
	SentTime time.Time // the Date of the mail; zero is now
}

// Sender hands mails over.
type Sender interface {
	// Send returns nil once the other side has taken the mail for good. A mail of the same ID may have been sent
	// before: it is the same mail. An error of bus.Permanent is final, any other is tried again later.
	Send(ctx context.Context, m Mail) error
}

// usersSource is who numbers the versions of users. Nobody else's word makes a mail.
const usersSource = "/users"

// typeCreatedV1 is the type of a creation in v1, as it stands in the envelope.
var typeCreatedV1 = string((*eventsv1.UserCreated)(nil).ProtoReflect().Descriptor().FullName())

// subject is the subject line of the one mail that there is.
const subject = "Welcome"

// routes mail those who were created, and know of what else becomes of users. There is one reaction, for v2; of what is
// only passed by, both versions are taken as they are.
func routes(st *store.Store, sender Sender, from string) []inbox.Route {
	send := func(ctx context.Context, e bus.Event, m *eventsv2.UserCreated) error {
		return sender.Send(ctx, welcome(e, m.GetUser(), from))
	}
	nothing := func(context.Context, inbox.Tx, []bus.Event) error { return nil }
	upcast := inbox.Upcast(userevents.CreatedV2)
	return []inbox.Route{
		inbox.After(send, inbox.Track(track(st, upcast))), upcast,
		inbox.Batch(nothing, &eventsv2.UserUpdated{}, &eventsv2.UserDeleted{}, &eventsv1.UserUpdated{}, &eventsv1.UserDeleted{}),
	}
}

// welcome makes the mail to somebody new.
func welcome(e bus.Event, u *eventsv2.User, from string) Mail {
	name := called(u)
	return Mail{
		ID: mailID(e), From: from, To: u.GetEmail(), Name: name, Subject: subject, SentTime: e.Time,
		Text: fmt.Sprintf("Dear %s,\n\nwelcome. It is good to have you here.\n\nYours,\nTidings\n", name),
	}
}

// called is what a user wants to be called by others: the display name, or the name where there is none.
func called(u *eventsv2.User) string {
	n := u.GetName()
	return cmp.Or(u.GetDisplayName(), userevents.Join(n.GetGiven(), n.GetFamily(), n.GetOrder()))
}

// mailID names the mail that e causes: the id of the v1 event that tells of this creation, whether e is that or its twin.
// So it is one mail whoever takes which of them: another release, or a mailer whose database was lost, and that reads the
// log again. And it is what releases of before there was a v2 have named the mail, which may have sent it already.
func mailID(e bus.Event) string {
	if e.Type == typeCreatedV1 || e.Version == 0 { // without a version ids are not derived, and there are no twins
		return e.ID
	}
	twin, err := bus.NewEvent(e.Source, e.Key, e.Version, &eventsv1.UserCreated{})
	if err != nil {
		return e.ID // nobody could have published that twin
	}
	return twin.ID
}

// track shows in the messages table what becomes of each mail, inside the transaction of the change.
func track(st *store.Store, upcast inbox.Route) func(context.Context, inbox.Tx, bus.Event, inbox.Progress) error {
	return func(ctx context.Context, tx inbox.Tx, e bus.Event, p inbox.Progress) error {
		m := store.Message{
			EventID: e.ID, State: string(p.State), Attempts: p.Attempts, LastError: p.Error,
			UpdateTime: p.Time, NextTime: p.Next,
		}
		if p.Attempts > 0 || p.State != inbox.Queued && p.State != inbox.Skipped {
			return st.Move(ctx, tx, m)
		}
		// Its first state: the message is new, unless it was queued and is skipped before its first attempt.
		created, err := inbox.Read[*eventsv2.UserCreated](e, upcast)
		if err != nil {
			return err
		}
		m.UserID, m.To, m.Subject, m.CreateTime = e.Key, created.GetUser().GetEmail(), subject, p.Time
		return st.Add(ctx, tx, m)
	}
}
