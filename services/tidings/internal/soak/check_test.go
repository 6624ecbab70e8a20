package soak

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidings-dev/tidings/services/internal/lifecycle"
)

// victim is a platform that somebody has laid hands on.
type victim struct {
	*platform
	t   *testing.T
	dir string
	dbs map[string]*database
	*trial
}

// user is one whom the writes have created, by number.
func (b *victim) user(i int) string { return b.writes[i].User }

func (b *victim) exec(service, text string, args ...any) { change(b.t, b.dbs[service], text, args...) }

// redeliver has a service read the log again from its start, after the mark of a user was taken away.
func (b *victim) redeliver(service string, i int) {
	b.exec(service, `DELETE FROM tidings_inbox_mark WHERE key = $1`, b.user(i))
	b.exec(service, `UPDATE tidings_inbox_position SET next = 0`)
	b.start(b.t, b.dir, service).Until("the mark again", func(s lifecycle.Status) bool {
		n, err := one(b.t.Context(), b.dbs[service].DB, `SELECT COUNT(*) FROM tidings_inbox_mark WHERE key = '`+b.user(i)+`' AND version >= 2`)
		if err != nil {
			b.t.Fatal(err)
		}
		return n == 1 && s.Queued == 0
	})
}

// damage is one thing that is broken, which promise that breaks, and words of the checker that name it.
type damage struct {
	name    string
	lay     func(b *victim) // hands on the databases
	told    func(b *victim) // … or on what is known beside them
	promise string
	says    string
}

// Each case breaks one thing, and the checker says which promise that breaks, in words that name it: whether a change is
// told by one event or by twins.
func TestTheCheckerFindsWhatIsBroken(t *testing.T) {
	for _, apis := range []string{"", "v2,v1"} {
		t.Run("events "+apis, func(t *testing.T) { finds(t, apis, anyDamage()) })
	}
}

// finds has users written, and the checker find each damage.
func finds(t *testing.T, apis string, all []damage) {
	t.Helper()
	p := newPlatform(t, apis)
	whole := p.written(t)
	if found := check(whole); found.len() > 0 {
		t.Fatalf("nothing is broken yet:\n%v", found)
	}
	for _, test := range all {
		t.Run(test.name, func(t *testing.T) {
			b := &victim{platform: p, t: t, dir: copyOf(t, p.dir)}
			b.dbs = open(t, b.dir)
			if test.lay != nil {
				b.trial = &trial{books: whole.books, writes: whole.writes}
				test.lay(b)
			}
			l := newLedger()
			l.writes, l.reads = slices.Clone(whole.writes), slices.Clone(whole.reads)
			b.trial = p.trial(t, b.dbs, l)
			b.mails = slices.Clone(whole.mails) // without those of other cases
			if test.told != nil {
				test.told(b)
			}
			found := check(b.trial)
			if !slices.ContainsFunc(found.by[test.promise], func(s string) bool { return strings.Contains(s, test.says) }) {
				t.Errorf("want that %q is broken, and to hear %q; found\n%v", test.promise, test.says, found)
			}
		})
	}
}

// anyDamage is what can be done to any run.
func anyDamage() []damage {
	return []damage{
		{name: "a row of directory is deleted", promise: noneMissing, says: "directory lacks user",
			lay: func(b *victim) { b.exec(directory, `DELETE FROM people WHERE id = $1`, b.user(0)) }},
		{name: "directory keeps an older version", promise: equal, says: "and directory has",
			lay: func(b *victim) {
				b.exec(directory, `UPDATE people SET version = 1, name = 'Created 1' WHERE id = $1`, b.user(1))
			}},
		{name: "directory applies an older version late", promise: inOrder, says: "after version 2",
			lay: func(b *victim) {
				b.exec(directory, `UPDATE people SET version = 1, name = 'Created 1' WHERE id = $1`, b.user(1))
			}},
		{name: "a deleted user comes back", promise: noDeleted, says: "was deleted at version 3",
			lay: func(b *victim) {
				b.exec(directory, `UPDATE people SET deleted = 0, name = 'Back' WHERE id = $1`, b.user(5))
			}},
		{name: "a deleted user is still found by a search", promise: noDeleted, says: "index",
			lay: func(b *victim) {
				b.exec(directory, `INSERT INTO terms SELECT 0, 'left', no FROM people WHERE id = $1`, b.user(5))
			}},
		{name: "somebody is in directory whom the owner does not know", promise: equal, says: "does not know",
			lay: func(b *victim) {
				b.exec(directory, `INSERT INTO people (no, id, version, deleted, email, name, create_time, update_time, terms) SELECT 999, 'stranger', version, deleted, email, name, create_time, update_time, terms FROM people WHERE id = $1`, b.user(0))
			}},
		{name: "audit lacks a version", promise: noneMissing, says: "audit lacks version 1 to 1",
			lay: func(b *victim) { b.exec(audit, `DELETE FROM events WHERE user_id = $1 AND version = 1`, b.user(2)) }},
		{name: "audit lacks the last version", promise: noneMissing, says: "audit ends at version 1",
			lay: func(b *victim) { b.exec(audit, `DELETE FROM events WHERE user_id = $1 AND version = 2`, b.user(2)) }},
		{name: "a row of audit is there twice", promise: onceHandled, says: "more than once",
			lay: func(b *victim) {
				b.exec(audit, `INSERT INTO events SELECT user_id, version, source, 'again', type, time, data_type, data, extensions FROM events WHERE user_id = $1 AND version = 2`, b.user(2))
			}},
		{name: "audit hears again of what it has forgotten", promise: onceHandled, says: "a second time",
			lay: func(b *victim) { b.redeliver(audit, 1) }},
		{name: "directory hears again of what it has forgotten", promise: onceHandled, says: "a second time",
			lay: func(b *victim) { b.redeliver(directory, 1) }},
		{name: "the mailer hears again of what it has forgotten", promise: onceHandled, says: "queued a mail",
			lay: func(b *victim) { b.redeliver(mailer, 1) }},
		{name: "an event was not counted", promise: onceHandled, says: "audit counts",
			lay: func(b *victim) { b.exec(audit, `UPDATE totals SET events = events - 1`) }},
		{name: "a mark is behind", promise: noneMissing, says: "up to version 1",
			lay: func(b *victim) {
				b.exec(mailer, `UPDATE tidings_inbox_mark SET version = 1 WHERE key = $1`, b.user(3))
			}},
		{name: "a hole is on record", promise: noneMissing, says: "1 holes",
			lay: func(b *victim) { b.exec(audit, `INSERT INTO tidings_inbox_hole VALUES (1, $1, 9, 9)`, b.user(3)) }},
		{name: "an event was put aside", promise: nothingParked, says: "because",
			lay: func(b *victim) {
				b.exec(audit, `INSERT INTO tidings_inbox_parked (grp, state, source, key, version, have, type, event_id, reaction, attempts, error, time, topic, log, part, off, raw,
						next, seq, line, upto)
					VALUES ('audit', 'dead', '/users', $1, 2, 1, 't', 'id', 0, 0, 'because', 0, 't', 'l', 0, 0, x'00', 0, 0, 0, 2)`, b.user(3))
			}},
		{name: "no mail is queued", promise: oneMail, says: "no mail is queued",
			lay: func(b *victim) { b.exec(mailer, `DELETE FROM messages WHERE user_id = $1`, b.user(0)) }},
		{name: "a mail is queued for nothing", promise: oneMail, says: "created nobody",
			lay: func(b *victim) {
				b.exec(mailer, `UPDATE messages SET event_id = 'other' WHERE user_id = $1`, b.user(0))
			}},
		{name: "a mail goes to somebody else", promise: oneMail, says: "x@example.com",
			lay: func(b *victim) {
				b.exec(mailer, `UPDATE messages SET recipient = 'x@example.com' WHERE user_id = $1`, b.user(0))
			}},
		{name: "a mail is not sent", promise: allMailed, says: `is "dead"`,
			lay: func(b *victim) { b.exec(mailer, `UPDATE messages SET state = 'dead' WHERE user_id = $1`, b.user(0)) }},
		{name: "the owner has lost a user", promise: nonePhantom, says: "whom the owner does not know",
			lay: func(b *victim) { b.exec(users, `DELETE FROM users WHERE id = $1`, b.user(4)) }},
		{name: "the owner has a version that nobody heard of", promise: noneMissing, says: "who is at version 3",
			lay: func(b *victim) { b.exec(users, `UPDATE users SET version = 3 WHERE id = $1`, b.user(4)) }},
		{name: "a change was made without an event", promise: noneMissing, says: "and made",
			lay: func(b *victim) { b.exec(users, `DELETE FROM tidings_outbox WHERE key = $1 AND version = 2`, b.user(2)) }},
		{name: "a version was told of twice", promise: onceMade, says: "more than one event",
			lay: func(b *victim) {
				b.exec(users, `INSERT INTO tidings_outbox (created, topic, source, key, version, id, envelope)
					SELECT created, topic, source, key, version, 'again', envelope FROM tidings_outbox WHERE key = $1 AND version = 2`, b.user(2))
			}},
		{name: "the outbox holds something back", promise: quiet, says: "1 events",
			lay: func(b *victim) { b.exec(users, `INSERT INTO tidings_outbox_unsent VALUES (999)`) }},

		{name: "an acknowledged write was not made", promise: noneMissing, says: `"Lost"`,
			told: func(b *victim) {
				b.writes = append(b.writes, Write{Verb: Update, User: b.user(0), Name: "Lost", Version: 3, Outcome: Acknowledged})
			}},
		{name: "an acknowledged write was made otherwise", promise: noneMissing, says: "which is the update",
			told: func(b *victim) { b.writes[7].Email = "other@example.com" }},
		{name: "a refused write was made", promise: nonePhantom, says: "was refused (503)",
			told: func(b *victim) { b.writes[7].Outcome, b.writes[7].Status = Refused, 503 }},
		{name: "a write was made that nobody has asked for", promise: nonePhantom, says: "nobody has written",
			told: func(b *victim) { b.trial.writes = slices.Delete(slices.Clone(b.writes), 7, 8) }},
		{name: "a deletion was made that nobody has asked for", promise: nonePhantom, says: "is a deletion",
			told: func(b *victim) {
				b.trial.writes = slices.DeleteFunc(slices.Clone(b.writes), func(w Write) bool { return w.Verb == Delete })
			}},
		{name: "one version was given to two writes", promise: onceMade, says: "was given to",
			told: func(b *victim) { b.writes = append(b.writes, b.writes[7]) }},
		{name: "a write was made against its condition", promise: nonePhantom, says: "insisted on version 5",
			told: func(b *victim) { b.writes[7].IfMatch = 5 }},
		{name: "a later write has the earlier version", promise: realTime, says: "before version 1 was asked for",
			told: func(b *victim) {
				b.writes[1].Begun = b.writes[7].Ended.Add(time.Second)
			}},
		{name: "a read was stale", promise: noneStale, says: "where version 2 was asked for",
			told: func(b *victim) {
				b.reads = append(b.reads, Read{From: directory, User: b.user(0), Wanted: 2, Got: 1, Name: "Created 0"})
			}},
		{name: "a read told something else", promise: noneStale, says: `"Nobody"`,
			told: func(b *victim) {
				b.reads = append(b.reads, Read{From: directory, User: b.user(0), Wanted: 2, Got: 2, Name: "Nobody"})
			}},
		{name: "a read told that somebody is gone", promise: noneStale, says: "never deleted",
			told: func(b *victim) {
				b.reads = append(b.reads, Read{From: directory, User: b.user(0), Wanted: 2, Deleted: true})
			}},
		{name: "a mail was sent twice, and nothing explains it", promise: allMailed, says: "no fault explains it",
			told: func(b *victim) { b.mails = append(slices.Clone(b.mails), b.mails[0]) }},
		{name: "a mail was sent twice, and a fault elsewhere does not explain it", promise: allMailed, says: "no fault explains it",
			told: func(b *victim) {
				b.mails = append(slices.Clone(b.mails), b.mails[0])
				at := b.mails[0].At
				b.excuses = []excuse{{Kill, "mailer-2", at.Add(-time.Second), at.Add(time.Second)}, {Lock, "", at.Add(time.Second), at.Add(time.Hour)}}
			}},
		{name: "a mail was sent twice, and not the same", promise: allMailed, says: "not the same",
			told: func(b *victim) {
				other := b.mails[0]
				other.Text += "!"
				b.mails = append(slices.Clone(b.mails), other)
				b.excuses = []excuse{{from: other.At, to: other.At}}
			}},
		{name: "a mail never arrived", promise: allMailed, says: "never had it",
			told: func(b *victim) { b.trial.mails = slices.Clone(b.mails)[1:] }},
		{name: "a mail of nothing", promise: allMailed, says: "never queued",
			told: func(b *victim) { b.mails = append(slices.Clone(b.mails), Mail{ID: "x@y"}) }},
	}
}

// What nobody can know is held against nobody: a write that may have been made, or not; a mail that was sent again
// around a fault; garbage and strangers.
func TestTheCheckerAllowsWhatMayBe(t *testing.T) {
	p := newPlatform(t, "")
	whole := p.written(t)
	for i := range whole.writes {
		if w := &whole.writes[i]; w.Verb != Create && w.Outcome == Acknowledged {
			w.Outcome, w.Version = Unknown, 0
		}
	}
	whole.writes = append(whole.writes, Write{Verb: Create, Name: "Perhaps", Outcome: Unknown}, Write{Verb: Delete, User: whole.writes[0].User, Outcome: Unknown})
	whole.mails = append(whole.mails, whole.mails[0])
	whole.excuses = []excuse{{Kill, mailer, whole.mails[0].At.Add(-time.Second), whole.mails[0].At.Add(time.Second)}}
	whole.books.events = append(whole.books.events, event{key: garbageKey + "1", version: 1, source: source, id: "1"},
		event{key: whole.writes[0].User, source: elsewhere, id: "2"})
	whole.books.counted += 2
	whole.strangers = map[string]bool{"2": true}
	for _, service := range readers {
		in := whole.books.readers[service]
		in.marks[garbageKey+"1"] = 1
		in.parked = append(in.parked, parked{key: whole.writes[0].User}, parked{source: source, key: garbageKey + "1"})
	}
	found := check(whole)
	if found.len() > 0 {
		t.Errorf("%v", found)
	}
	if found.repeats["… again, after kill"] != 1 {
		t.Errorf("mails sent again: %v", found.repeats)
	}
}
