package soak

import (
	"cmp"
	"slices"
)

// writesAgainstHistory compares what the writers were answered with what came of it. A name is one write's alone, so
// each creation and change in a history has exactly one write that explains it; a deletion has one of its user.
func (c *checker) writesAgainstHistory() {
	made := c.byName()
	deleted := map[string]*Write{}      // by user, of which it is known
	mayDelete := map[string]bool{}      // users for whom a deletion has an unknown outcome
	explained := map[versionOf]*Write{} // what a write was answered that it has made
	for i := range c.writes {
		w := &c.writes[i]
		switch w.Outcome {
		case Acknowledged:
			c.acknowledged(w, made, explained)
			if w.Verb == Delete {
				deleted[w.User] = w
			}
		case Refused:
			if e := made[w.Name]; w.Name != "" && len(e) > 0 {
				c.add(nonePhantom, "the %s %q was refused (%d), and is version %d of user %s", w.Verb, w.Name, w.Status, e[0].version, e[0].key)
			}
		case Unknown:
			if w.Verb == Delete {
				mayDelete[w.User] = true
			}
		}
		if e := made[w.Name]; len(e) > 1 {
			c.add(onceMade, "the %s %q is version %d of user %s and version %d of user %s", w.Verb, w.Name, e[0].version, e[0].key, e[1].version, e[1].key)
		}
	}
	c.unexplained(made, deleted, mayDelete)
}

// versionOf is a place in a history.
type versionOf struct {
	user    string
	version uint64
}

// byName are the events that make each name: those in which it is another than before.
func (c *checker) byName() map[string][]event {
	made := map[string][]event{}
	for _, all := range c.history {
		for _, e := range all {
			if e.kind != Delete {
				made[e.name] = append(made[e.name], e)
			}
		}
	}
	return made
}

// acknowledged checks that a write stands in the history as it was answered.
func (c *checker) acknowledged(w *Write, made map[string][]event, explained map[versionOf]*Write) {
	place := versionOf{w.User, w.Version}
	if other := explained[place]; other != nil && (w.Verb != Delete || other.Verb != Delete) { // a deletion may be repeated
		c.add(onceMade, "version %d of user %s was given to %q and to %q", w.Version, w.User, other.Name, w.Name)
	}
	explained[place] = w
	if again := w.Verb == Delete && w.Version == w.IfMatch; w.IfMatch > 0 && w.Version != w.IfMatch+1 && !again {
		c.add(nonePhantom, "the %s %q of user %s insisted on version %d, and was made as version %d", w.Verb, w.Name, w.User, w.IfMatch, w.Version)
	}
	e, there := c.at(w.User, w.Version)
	switch {
	case !there:
		c.add(noneMissing, "the %s %q was acknowledged as version %d of user %s, which audit lacks", w.Verb, w.Name, w.Version, w.User)
	case e.kind != w.Verb || e.name != w.Name || w.Email != "" && e.email != w.Email:
		c.add(noneMissing, "the %s %q, %s was acknowledged as version %d of user %s, which is the %s %q, %s", w.Verb, w.Name, w.Email, w.Version, w.User, e.kind, e.name, e.email)
	}
	if u, there := c.books.users[w.User]; !there || u.version < w.Version {
		c.add(noneMissing, "the %s %q was acknowledged as version %d of user %s, and the owner has version %d", w.Verb, w.Name, w.Version, w.User, u.version)
	}
}

// unexplained looks for events that no write can have made.
func (c *checker) unexplained(made map[string][]event, deleted map[string]*Write, mayDelete map[string]bool) {
	asked := map[string]bool{}
	for i := range c.writes {
		if w := &c.writes[i]; w.Name != "" && w.Outcome != Refused {
			asked[w.Name] = true
		}
	}
	for name, all := range made {
		if !asked[name] {
			c.add(nonePhantom, "version %d of user %s is %q, which nobody has written", all[0].version, all[0].key, name)
		}
	}
	for id, all := range c.history {
		for i, e := range all {
			if e.kind != Delete {
				continue
			}
			if w := deleted[id]; !mayDelete[id] && (w == nil || w.Version != e.version) {
				c.add(nonePhantom, "version %d of user %s is a deletion, which nobody has written", e.version, id)
			}
			if i != len(all)-1 {
				c.add(nonePhantom, "user %s goes on after the deletion at version %d", id, e.version)
			}
		}
	}
}

// writesInRealTime checks that a write that began after another was answered has the later version.
func (c *checker) writesInRealTime() {
	byUser := map[string][]*Write{}
	for i := range c.writes {
		if w := &c.writes[i]; w.Outcome == Acknowledged {
			byUser[w.User] = append(byUser[w.User], w)
		}
	}
	for id, all := range byUser {
		slices.SortFunc(all, func(a, b *Write) int { return cmp.Compare(a.Version, b.Version) })
		latest := all[0]
		for _, w := range all[1:] {
			if w.Version > latest.Version && w.Ended.Before(latest.Begun) {
				c.add(realTime, "user %s: version %d was acknowledged before version %d was asked for", id, w.Version, latest.Version)
			}
			if w.Begun.After(latest.Begun) {
				latest = w
			}
		}
	}
}

// readsAgainstHistory checks every answer that told of a user: it is as new as was asked for, and as it was written.
func (c *checker) readsAgainstHistory() {
	for _, r := range c.reads {
		if r.Deleted {
			if last, there := c.last(r.User); !there || last.kind != Delete {
				c.add(noneStale, "%s answered that user %s is gone, who was never deleted", r.From, r.User)
			}
			continue
		}
		e, there := c.at(r.User, r.Got)
		switch {
		case r.Got < r.Wanted:
			c.add(noneStale, "%s answered version %d of user %s where version %d was asked for", r.From, r.Got, r.User, r.Wanted)
		case !there || e.kind == Delete || e.name != r.Name:
			c.add(noneStale, "%s answered %q as version %d of user %s, which is %q", r.From, r.Name, r.Got, r.User, e.name)
		}
	}
}

// mailQueue checks that each user who was created is mailed, once, as it was created.
func (c *checker) mailQueue() {
	queued := map[string][]message{}
	for _, m := range c.books.messages {
		queued[m.event] = append(queued[m.event], m)
	}
	for id, all := range c.history {
		first := all[0]
		if first.kind != Create {
			continue // which is told elsewhere
		}
		switch q := queued[first.id]; {
		case len(q) == 0:
			c.add(oneMail, "no mail is queued for user %s, event %s", id, first.id)
		case len(q) > 1:
			c.add(oneMail, "%d mails are queued for user %s, event %s", len(q), id, first.id)
		case q[0].user != id || q[0].to != first.email:
			c.add(oneMail, "the mail of event %s is to user %s at %s, and user %s at %s was created", first.id, q[0].user, q[0].to, id, first.email)
		}
		delete(queued, first.id)
	}
	for id, q := range queued {
		c.add(oneMail, "a mail is queued for event %s, to %s, which created nobody", id, q[0].to)
	}
}

// mailsSent compares what was queued with what the mail server has taken.
func (c *checker) mailsSent() {
	taken := map[string][]Mail{}
	for _, m := range c.mails {
		id, _, _ := cutLast(m.ID)
		taken[id] = append(taken[id], m)
	}
	for _, q := range c.books.messages {
		all := taken[q.mail]
		switch {
		case q.state != "sent":
			c.add(allMailed, "the mail of event %s is %q", q.event, q.state)
		case len(all) == 0:
			c.add(allMailed, "the mail of event %s counts as sent, and the mail server never had it", q.event)
		}
		for i := 1; i < len(all); i++ {
			c.mailAgain(q.event, all[i-1], all[i])
		}
		delete(taken, q.mail)
	}
	for id := range taken {
		c.add(allMailed, "a mail %s was sent, which was never queued", id)
	}
}

// mailAgain is for a mail that the mail server has taken before: it is the same, and there is a reason.
func (c *checker) mailAgain(event string, before, again Mail) {
	if again.Text != before.Text {
		c.add(allMailed, "the mail of event %s was sent twice, and not the same", event)
	}
	if fault, yes := c.excused(before); yes {
		c.repeats["… again, after "+string(fault)]++
		return
	}
	c.add(allMailed, "the mail of event %s was sent by %s at %s and again by %s at %s, and no fault explains it",
		event, before.By, before.At.Format("15:04:05.000"), again.By, again.At.Format("15:04:05.000"))
}

// excused names a fault that befell the mailer that has sent a mail, so that it may not have got to write that down.
func (c *checker) excused(m Mail) (Fault, bool) {
	at := slices.IndexFunc(c.excuses, func(e excuse) bool {
		return (e.by == "" || e.by == m.By) && !m.At.Before(e.from) && !m.At.After(e.to)
	})
	if at < 0 {
		return "", false
	}
	return c.excuses[at].fault, true
}

// cutLast splits a Message-ID at its last @.
func cutLast(id string) (name, domain string, found bool) {
	for i := len(id) - 1; i >= 0; i-- {
		if id[i] == '@' {
			return id[:i], id[i+1:], true
		}
	}
	return id, "", false
}
