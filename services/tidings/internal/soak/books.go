package soak

import (
	"context"
	"database/sql"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/tidings-dev/tidings/bus"
	eventsv1 "github.com/tidings-dev/tidings/gen/users/events/v1"
	eventsv2 "github.com/tidings-dev/tidings/gen/users/events/v2"
	"github.com/tidings-dev/tidings/services/internal/userevents"
)

// source is who numbers the versions of users.
const source = "/users"

// typeOf is the type of an event that carries M.
func typeOf[M proto.Message]() string {
	var none M
	return string(none.ProtoReflect().Descriptor().FullName())
}

// books is what stands in the databases once all is quiet.
type books struct {
	users    map[string]user
	outbox   []event // where they stay for days, in order of position
	unsent   int64
	unable   int64 // events that can't be sent, ever
	people   map[string]user
	terms    int64 // of the search index, that lead to nobody, or to somebody who is deleted
	events   []event
	counted  int64 // events, as audit counts them itself
	messages []message
	readers  map[string]*inboxBooks // by service
}

// user is one as a database has it.
type user struct {
	version     uint64
	deleted     bool
	email, name string
}

// event is a row of the history, or of the outbox.
type event struct {
	key     string
	version uint64
	source  string
	id      string
	as      string // its type: twins tell of one version in several
	kind    Verb   // empty of a type that is none of the owner's
	user           // as the event tells it
	wrong   string // why the event can't be read
}

// message is a row of the mailer's. The event is whichever twin has caused it; mail is what it is called in its
// Message-ID, which is the same for either.
type message struct{ event, mail, user, to, state string }

// inboxBooks is what a reader's inbox holds.
type inboxBooks struct {
	marks   map[string]uint64 // by key, of the owner's source
	holes   int64
	waiting int64
	queued  int64
	parked  []parked
	notes   []note // what the triggers have written down, in order
}

// parked is an event that could not be taken.
type parked struct {
	state, source, key, kind, id, err string
	version                           uint64
	reaction                          bool
}

// note is a change that a trigger has written down.
type note struct {
	what    string
	source  int64
	key     string
	version uint64
}

// readBooks reads the databases, which nobody must be writing to.
func readBooks(ctx context.Context, dbs map[string]*database) (*books, error) {
	b := &books{users: map[string]user{}, people: map[string]user{}, readers: map[string]*inboxBooks{}}
	steps := []func(context.Context, map[string]*database) error{b.readOwner, b.readDirectory, b.readAudit, b.readMailer}
	for _, step := range steps {
		if err := step(ctx, dbs); err != nil {
			return nil, fmt.Errorf("soak: books: %w", err)
		}
	}
	for _, service := range readers {
		in, err := readInbox(ctx, dbs[service])
		if err != nil {
			return nil, fmt.Errorf("soak: books of %s: %w", service, err)
		}
		b.readers[service] = in
	}
	return b, nil
}

// each calls row for every row of the answer.
func each(ctx context.Context, db *sql.DB, text string, row func(scan func(...any) error) error) error {
	rows, err := db.QueryContext(ctx, text)
	if err != nil {
		return fmt.Errorf("%.60s…: %w", text, err)
	}
	defer func() { _ = rows.Close() }() // its error is that of Err
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return fmt.Errorf("%.60s…: %w", text, err)
		}
	}
	return rows.Err()
}

// one is a single number.
func one(ctx context.Context, db *sql.DB, text string) (n int64, err error) {
	if err = db.QueryRowContext(ctx, text).Scan(&n); err != nil {
		err = fmt.Errorf("%.60s…: %w", text, err)
	}
	return n, err
}

// readOwner reads every user that ever was, and how the outbox stands.
func (b *books) readOwner(ctx context.Context, dbs map[string]*database) (err error) {
	db := dbs[users].DB
	const text = `SELECT id, version, delete_time IS NOT NULL, COALESCE(email, ''), COALESCE(name, '') FROM users`
	if err := b.readPeople(ctx, db, text, b.users); err != nil {
		return err
	}
	for _, count := range []struct {
		into *int64
		text string
	}{
		{&b.unsent, `SELECT COUNT(*) FROM tidings_outbox_unsent`},
		{&b.unable, `SELECT COUNT(*) FROM tidings_outbox_failed`},
	} {
		if *count.into, err = one(ctx, db, count.text); err != nil {
			return err
		}
	}
	return b.readOutbox(ctx, db)
}

// readOutbox reads every event that the owner has made. It is the only place where all twins are: readers keep one.
func (b *books) readOutbox(ctx context.Context, db *sql.DB) error {
	return each(ctx, db, `SELECT key, version, source, id, envelope FROM tidings_outbox ORDER BY position`, func(scan func(...any) error) error {
		var e event
		var envelope []byte
		if err := scan(&e.key, &e.version, &e.source, &e.id, &envelope); err != nil {
			return err
		}
		if told, err := bus.ParseEnvelope(envelope); err != nil {
			e.wrong = err.Error()
		} else {
			e.read(told)
		}
		b.outbox = append(b.outbox, e)
		return nil
	})
}

// readPeople reads people as the owner and the directory both have them, so that the two can be compared as they are.
func (b *books) readPeople(ctx context.Context, db *sql.DB, text string, into map[string]user) error {
	return each(ctx, db, text, func(scan func(...any) error) error {
		var id string
		var u user
		if err := scan(&id, &u.version, &u.deleted, &u.email, &u.name); err != nil {
			return err
		}
		into[id] = u
		return nil
	})
}

// readDirectory reads the projection, and counts what of its search index leads to nobody: a search would still find who is
// gone, and no read by id shows that.
func (b *books) readDirectory(ctx context.Context, dbs map[string]*database) (err error) {
	db := dbs[directory].DB
	if err := b.readPeople(ctx, db, `SELECT id, version, CAST(deleted AS INTEGER) <> 0, email, name FROM people`, b.people); err != nil {
		return err
	}
	b.terms, err = one(ctx, db, `SELECT COUNT(*) FROM terms t LEFT JOIN people p ON p.no = t.person WHERE p.no IS NULL OR CAST(p.deleted AS INTEGER) <> 0`)
	return err
}

// readAudit reads the history in order of user and version. The data is read too: that a version is there says little if it
// tells of something else.
func (b *books) readAudit(ctx context.Context, dbs map[string]*database) (err error) {
	db := dbs[audit].DB
	const text = `SELECT user_id, version, source, event_id, type, data_type, data FROM events ORDER BY user_id, version`
	err = each(ctx, db, text, func(scan func(...any) error) error {
		var e event
		var told bus.Event
		if err := scan(&e.key, &e.version, &e.source, &e.id, &told.Type, &told.DataType, &told.Data); err != nil {
			return err
		}
		told.ID = e.id
		e.read(told)
		b.events = append(b.events, e)
		return nil
	})
	if err != nil {
		return err
	}
	b.counted, err = one(ctx, db, `SELECT COALESCE(SUM(events), 0) FROM totals`)
	return err
}

// read takes out of an event what it tells of its user, in either version of the events.
func (e *event) read(from bus.Event) {
	e.as = from.Type
	m, err := userevents.Read(from)
	if err != nil {
		e.wrong = err.Error()
		return
	}
	var told *eventsv2.User
	switch m := m.(type) {
	case *eventsv2.UserCreated:
		e.kind, told = Create, m.GetUser()
	case *eventsv2.UserUpdated:
		e.kind, told = Update, m.GetUser()
	case *eventsv2.UserDeleted:
		e.kind, told = Delete, &eventsv2.User{Id: m.GetId(), Version: m.GetVersion()}
	}
	if told.GetId() != e.key || told.GetVersion() != e.version {
		e.wrong = fmt.Sprintf("its message is of version %d of %q", told.GetVersion(), told.GetId())
	}
	name := userevents.Join(told.GetName().GetGiven(), told.GetName().GetFamily(), told.GetName().GetOrder())
	e.user = user{version: told.GetVersion(), deleted: e.kind == Delete, email: told.GetEmail(), name: name}
}

// readMailer reads what was queued. Rows are never removed, so a mail that was queued is here, whatever has become of it.
func (b *books) readMailer(ctx context.Context, dbs map[string]*database) error {
	const text = `SELECT event_id, user_id, recipient, state FROM messages ORDER BY seq`
	return each(ctx, dbs[mailer].DB, text, func(scan func(...any) error) error {
		var m message
		err := scan(&m.event, &m.user, &m.to, &m.state)
		if err == nil {
			m.mail, err = mailOf(m.user)
		}
		b.messages = append(b.messages, m)
		return err
	})
}

// mailOf is what the mail to a new user is called in its Message-ID: by the id of the v1 event of the creation, whether
// that was ever told or not. So it is one mail, whichever twin a mailer has heard of.
func mailOf(id string) (string, error) {
	e, err := bus.NewEvent(source, id, 1, &eventsv1.UserCreated{})
	return e.ID, err
}

// readInbox reads a reader's own books. Marks of other sources belong to events that are not the owner's, and are left out.
func readInbox(ctx context.Context, db *database) (_ *inboxBooks, err error) {
	in := &inboxBooks{marks: map[string]uint64{}}
	const marks = `SELECT m.key, m.version FROM tidings_inbox_mark m JOIN tidings_inbox_source s ON s.id = m.source WHERE s.source = '` + source + `'`
	err = each(ctx, db.DB, marks, func(scan func(...any) error) error {
		var key string
		var version uint64
		err := scan(&key, &version)
		in.marks[key] = version
		return err
	})
	if err != nil {
		return nil, err
	}
	for table, n := range map[string]*int64{"hole": &in.holes, "waiting": &in.waiting, "queue": &in.queued} {
		if *n, err = one(ctx, db.DB, `SELECT COUNT(*) FROM tidings_inbox_`+table); err != nil {
			return nil, err
		}
	}
	if err := in.readParked(ctx, db); err != nil {
		return nil, err
	}
	return in, in.readNotes(ctx, db)
}

// readParked reads what the inbox has put aside, in order. The bytes stay where they are: the first few violations are told
// by key and place, and the database is kept.
func (in *inboxBooks) readParked(ctx context.Context, db *database) error {
	const text = `SELECT state, source, key, version, type, event_id, reaction <> 0, error FROM tidings_inbox_parked ORDER BY id`
	return each(ctx, db.DB, text, func(scan func(...any) error) error {
		var p parked
		err := scan(&p.state, &p.source, &p.key, &p.version, &p.kind, &p.id, &p.reaction, &p.err)
		in.parked = append(in.parked, p)
		return err
	})
}

// readNotes reads what the triggers have written down. Numbers are given out while a row is locked, so for one key their
// order is that of the commits.
func (in *inboxBooks) readNotes(ctx context.Context, db *database) error {
	return each(ctx, db.DB, `SELECT what, source, key, version FROM soak_log ORDER BY seq`, func(scan func(...any) error) error {
		var n note
		err := scan(&n.what, &n.source, &n.key, &n.version)
		in.notes = append(in.notes, n)
		return err
	})
}
