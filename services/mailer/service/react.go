package service

import (
	"context"
	"fmt"
	"time"

	"github.com/tidings-dev/tidings/bus"
	"github.com/tidings-dev/tidings/bus/inbox"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	"github.com/tidings-dev/tidings/services/mailer/internal/store"
)

// Mail is a mail to be sent.
type Mail struct {
	ID       string // of the event that caused it: the same mail always has the same
	From     string // with or without a display name
	To       string // the bare address
	Name     string // of whom it goes to
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

// subject is the subject line of the one mail that there is.
const subject = "Welcome"

// routes mail those who were created, and know of what else becomes of users.
func routes(st *store.Store, sender Sender, from string) []inbox.Route {
	send := func(ctx context.Context, e bus.Event, m *eventsv1.UserCreated) error {
		return sender.Send(ctx, welcome(e, m.GetUser(), from))
	}
	nothing := func(context.Context, inbox.Tx, []bus.Event) error { return nil }
	return []inbox.Route{
		inbox.After(send, inbox.Track(track(st))),
		inbox.Batch(nothing, &eventsv1.UserUpdated{}, &eventsv1.UserDeleted{}),
	}
}

func welcome(e bus.Event, u *eventsv1.User, from string) Mail {
	return Mail{
		ID: e.ID, From: from, To: u.GetEmail(), Name: u.GetName(), Subject: subject, SentTime: e.Time,
		Text: fmt.Sprintf("Dear %s,\n\nwelcome. It is good to have you here.\n\nYours,\nTidings\n", u.GetName()),
	}
}

// track shows in the messages table what becomes of each mail, inside the transaction of the change.
func track(st *store.Store) func(context.Context, inbox.Tx, bus.Event, inbox.Progress) error {
	return func(ctx context.Context, tx inbox.Tx, e bus.Event, p inbox.Progress) error {
		m := store.Message{
			EventID: e.ID, State: string(p.State), Attempts: p.Attempts, LastError: p.Error,
			UpdateTime: p.Time, NextTime: p.Next,
		}
		if p.Attempts > 0 || p.State != inbox.Queued && p.State != inbox.Skipped {
			return st.Move(ctx, tx, m)
		}
		// Its first state: the message is new, unless it was queued and is skipped before its first attempt.
		created, err := bus.Decode[*eventsv1.UserCreated](e)
		if err != nil {
			return err
		}
		m.UserID, m.To, m.Subject, m.CreateTime = e.Key, created.GetUser().GetEmail(), subject, p.Time
		return st.Add(ctx, tx, m)
	}
}
