package soak

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
)

// twinID is the id of the event that tells in M of a version of a user.
func (b *victim) twinID(m proto.Message, i int, version uint64) string {
	e, err := bus.NewEvent(source, b.user(i), version, m)
	if err != nil {
		b.t.Fatal(err)
	}
	return e.ID
}

// named is a message of v2 that is right, but for the name, of version 2 of a user.
func (b *victim) named(i int, given string) *eventsv2.UserUpdated {
	u := b.books.users[b.user(i)]
	return &eventsv2.UserUpdated{User: &eventsv2.User{
		Id: b.user(i), Version: u.version, Email: u.email, Name: &eventsv2.PersonName{Given: given},
	}}
}

// retell has an event in the outbox tell of another name.
func (b *victim) retell(m proto.Message, i int) {
	e, err := bus.NewEvent(source, b.user(i), 2, m)
	if err != nil {
		b.t.Fatal(err)
	}
	b.exec(users, `UPDATE tidings_outbox SET envelope = $1 WHERE id = $2`, e.AppendEnvelope(nil), e.ID)
}

// What can go wrong with twins, and with nothing else.
func TestTheCheckerFindsWhatIsBrokenOfTwins(t *testing.T) {
	created, updated := &eventsv1.UserCreated{}, &eventsv1.UserUpdated{}
	finds(t, "v2,v1", []damage{
		{name: "audit's event of v2 tells something else", promise: equal, says: "Somebody",
			lay: func(b *victim) {
				data, err := proto.Marshal(b.named(1, "Somebody"))
				if err != nil {
					b.t.Fatal(err)
				}
				b.exec(audit, `UPDATE events SET data = $1 WHERE user_id = $2 AND version = 2`, data, b.user(1))
			}},
		{name: "audit's event of v2 can't be read", promise: equal, says: "can't be read as users.events.v2.UserUpdated",
			lay: func(b *victim) {
				b.exec(audit, `UPDATE events SET data = x'ffff' WHERE user_id = $1 AND version = 2`, b.user(1))
			}},
		{name: "the twin of v2 tells something else", promise: equal, says: "by the users.events.v2.UserUpdated",
			lay: func(b *victim) { b.retell(b.named(1, "Somebody"), 1) }},
		{name: "the twin of v1 tells something else", promise: equal, says: "by the users.events.v1.UserUpdated",
			lay: func(b *victim) {
				u := b.books.users[b.user(1)]
				b.retell(&eventsv1.UserUpdated{User: &eventsv1.User{Id: b.user(1), Version: 2, Email: u.email, Name: "Somebody"}}, 1)
			}},
		{name: "the twin of v1 tells of somebody else", promise: equal, says: `of version 2 of "nobody"`,
			lay: func(b *victim) {
				b.retell(&eventsv1.UserUpdated{User: &eventsv1.User{Id: "nobody", Version: 2}}, 1)
			}},
		{name: "the twin of v1 is no envelope", promise: equal, says: "the owner has made event",
			lay: func(b *victim) {
				b.exec(users, `UPDATE tidings_outbox SET envelope = x'ffff' WHERE id = $1`, b.twinID(updated, 1, 2))
			}},
		{name: "a change has one twin only", promise: noneMissing, says: "events of v1",
			lay: func(b *victim) { b.exec(users, `DELETE FROM tidings_outbox WHERE id = $1`, b.twinID(updated, 1, 2)) }},
		{name: "one twin is there twice", promise: onceMade, says: "as users.events.v1.UserUpdated",
			lay: func(b *victim) {
				b.exec(users, `INSERT INTO tidings_outbox (created, topic, source, key, version, id, envelope)
					SELECT created, topic, source, key, version, 'again', envelope FROM tidings_outbox WHERE id = $1`, b.twinID(updated, 1, 2))
			}},
		{name: "twins where there were to be none", promise: nonePhantom, says: "events of v2, and was to tell in [v1]",
			told: func(b *victim) { b.apis = []string{"v1"} }},
		{name: "audit has taken both twins", promise: onceHandled, says: "version 2 of user",
			lay: func(b *victim) {
				b.exec(audit, `INSERT INTO events SELECT user_id, version, source, $1, 'users.events.v1.UserUpdated', time, data_type, data, extensions
					FROM events WHERE user_id = $2 AND version = 2`, b.twinID(updated, 1, 2), b.user(1))
			}},
		{name: "the mail is queued for the twin that is not in the history", promise: oneMail, says: "created nobody",
			lay: func(b *victim) {
				b.exec(mailer, `UPDATE messages SET event_id = $1 WHERE user_id = $2`, b.twinID(created, 1, 1), b.user(1))
			}},
		{name: "a mail is called by the event of v2", promise: allMailed, says: "never had it",
			told: func(b *victim) { b.recall(1) }},
		{name: "a mail is called by the event of v2, which names none that was queued", promise: allMailed, says: "never queued",
			told: func(b *victim) { b.recall(1) }},
	})
}

// recall has the mail to a user called by the v2 event of the creation.
func (b *victim) recall(i int) {
	v1, v2 := b.twinID(&eventsv1.UserCreated{}, i, 1), b.twinID(&eventsv2.UserCreated{}, i, 1)
	at := slices.IndexFunc(b.mails, func(m Mail) bool { return strings.HasPrefix(m.ID, v1+"@") })
	if at < 0 {
		b.t.Fatalf("no mail is called %s", v1)
	}
	b.mails[at].ID = strings.Replace(b.mails[at].ID, v1, v2, 1)
}

// Where v1 is told no more, mails are called as before, and everything is what it was.
func TestTheCheckerKnowsEventsOfV2Alone(t *testing.T) {
	whole := newPlatform(t, "v2").written(t)
	if found := check(whole); found.len() > 0 {
		t.Error(found)
	}
	if made := perAPI(whole.books.outbox); len(made) != 1 || made["v2"] == 0 {
		t.Errorf("the owner has made %v", made)
	}
}

// A run that users would refuse to start is refused before anything is started.
func TestARunRefusesEventsThatUsersWouldRefuse(t *testing.T) {
	for _, apis := range []string{"v1,v2", "v3", "v2,"} {
		if err := Run(t.Context(), Config{Events: apis, Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "--events") {
			t.Errorf("%q: %v", apis, err)
		}
	}
}
