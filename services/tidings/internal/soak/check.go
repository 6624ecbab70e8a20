package soak

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// trial is everything that the checker goes by.
type trial struct {
	books     *books
	writes    []Write
	reads     []Read
	mails     []Mail
	excuses   []excuse        // for mails that were sent twice
	strangers map[string]bool // events of another source that were published
	apis      []string        // in which the owner was to tell of each change: "v2", "v1"
}

// excuse is a stretch of time in which a mail could be sent without its being written down.
type excuse struct {
	fault    Fault
	by       string // the replica that has sent it; empty is any
	from, to time.Time
}

// findings are the violations, each under the promise that it breaks.
type findings struct {
	order []string
	by    map[string][]string
	// repeats counts mails that were sent again, by the fault that explains it: no violations.
	repeats map[string]int
}

// add notes a violation of a promise.
func (f *findings) add(promise, format string, args ...any) {
	if f.by == nil {
		f.by = map[string][]string{}
	}
	if _, known := f.by[promise]; !known {
		f.order = append(f.order, promise)
	}
	f.by[promise] = append(f.by[promise], fmt.Sprintf(format, args...))
}

// shown is how many violations of each promise are told.
const shown = 5

// String tells the first few of each; it is empty where there are none.
func (f *findings) String() string {
	var b strings.Builder
	for _, promise := range f.order {
		all := f.by[promise]
		fmt.Fprintf(&b, "VIOLATION: %s (%d times)\n", promise, len(all))
		for _, one := range all[:min(shown, len(all))] {
			fmt.Fprintf(&b, "    %s\n", one)
		}
	}
	return b.String()
}

// len is how many violations there are, told or not.
func (f *findings) len() (n int) {
	for _, all := range f.by {
		n += len(all)
	}
	return n
}

// The promises.
const (
	noneMissing   = "no acknowledged write is missing anywhere"
	nonePhantom   = "what was refused, or was never asked for, was not made"
	onceMade      = "no write is made twice"
	noneStale     = "a read that insists on a version gets it, or a later one, as it was written"
	realTime      = "versions are in the order of the writes"
	onceHandled   = "every event is handled once in each history"
	inOrder       = "no version is applied out of order"
	oneMail       = "one mail is queued for each event that is to be mailed"
	allMailed     = "every mail that was queued is sent, and twice only where a fault explains it"
	noDeleted     = "deleted users are in no projection"
	equal         = "all services are equal to the owner"
	nothingParked = "nothing but garbage is put aside"
	quiet         = "all comes to rest"
	alive         = "no service ends by itself"
)

// check looks for everything that breaks a promise.
func check(t *trial) *findings {
	c := &checker{trial: t, findings: &findings{repeats: map[string]int{}}}
	c.histories()
	c.ownerAgainstHistory()
	c.writesAgainstHistory()
	c.writesInRealTime()
	c.readsAgainstHistory()
	c.directory()
	c.marks()
	c.notes()
	c.mailQueue()
	c.mailsSent()
	c.aside()
	return c.findings
}

// checker is one check.
type checker struct {
	*trial
	*findings
	history map[string][]event // the owner's, by user, in order of version
}

// histories sorts the rows of the history: each version of each user once, without a gap.
func (c *checker) histories() {
	c.history = map[string][]event{}
	for _, e := range c.books.events {
		switch {
		case e.source == elsewhere:
			if !c.strangers[e.id] {
				c.add(onceHandled, "audit has event %s of %s, which nobody has published", e.id, e.source)
			}
		case strings.HasPrefix(e.key, garbageKey):
		case e.source != source || e.version == 0:
			c.add(onceHandled, "audit has event %s of source %s, version %d of %s, which nobody has published", e.id, e.source, e.version, e.key)
		default:
			c.history[e.key] = append(c.history[e.key], e)
		}
	}
	for id, all := range c.history {
		c.oneHistory(id, all)
	}
	if n := int64(len(c.books.events)); n != c.books.counted {
		c.add(onceHandled, "audit counts %d events, and has %d", c.books.counted, n)
	}
}

// oneHistory checks that a history goes 1, 2, 3 …, begins with a creation, and that each event says what its row says. Rows
// come in order, so a version that is there twice is one that is not above the one before.
func (c *checker) oneHistory(id string, all []event) {
	want := uint64(1)
	for _, e := range all {
		switch {
		case e.version > want:
			c.add(noneMissing, "audit lacks version %d to %d of user %s", want, e.version-1, id)
		case e.version < want:
			c.add(onceHandled, "audit has version %d of user %s more than once, as event %s too", e.version, id, e.id)
		}
		if e.wrong != "" {
			c.add(equal, "audit has event %s, version %d of user %s, and %s", e.id, e.version, id, e.wrong)
		}
		if (e.version == 1) != (e.kind == Create) {
			c.add(equal, "version %d of user %s is a %q", e.version, id, e.kind)
		}
		want = e.version + 1
	}
}

// last is the newest event of a user.
func (c *checker) last(id string) (event, bool) {
	all := c.history[id]
	if len(all) == 0 {
		return event{}, false
	}
	return all[len(all)-1], true
}

// at is a version of a user.
func (c *checker) at(id string, version uint64) (event, bool) {
	at, found := slices.BinarySearchFunc(c.history[id], version, func(e event, v uint64) int {
		return int(int64(e.version) - int64(v))
	})
	if !found {
		return event{}, false
	}
	return c.history[id][at], true
}

// ownerAgainstHistory compares the owner's rows with the last event of each user.
func (c *checker) ownerAgainstHistory() {
	for id, u := range c.books.users {
		e, there := c.last(id)
		switch {
		case !there:
			c.add(noneMissing, "audit has nothing of user %s, who is at version %d", id, u.version)
		case e.version < u.version:
			c.add(noneMissing, "audit ends at version %d of user %s, who is at version %d", e.version, id, u.version)
		case e.user != u:
			c.add(equal, "the owner has user %s as %+v, and audit has %+v", id, u, e.user)
		}
	}
	for id := range c.history {
		if _, there := c.books.users[id]; !there {
			c.add(nonePhantom, "audit has events of user %s, whom the owner does not know", id)
		}
	}
	c.outbox()
}

// outbox checks that the owner has made one event of each version in each API, no more, and that they all tell what the
// history has: of a change without one nobody would ever hear, or nobody who reads no other.
func (c *checker) outbox() {
	var versions int
	for _, u := range c.books.users {
		versions += int(u.version)
	}
	made := perAPI(c.books.outbox)
	for _, api := range c.apis {
		if n := made[api]; n != versions {
			c.add(noneMissing, "the owner has given out %d versions, and made %d events of %s", versions, n, api)
		}
		delete(made, api)
	}
	for api, n := range made {
		c.add(nonePhantom, "the owner has made %d events of %s, and was to tell in %v", n, api, c.apis)
	}
	c.twins()
	if n := c.books.unsent; n > 0 {
		c.add(quiet, "%d events are still in the outbox", n)
	}
	if n := c.books.unable; n > 0 {
		c.add(noneMissing, "%d events can't be sent, says the outbox", n)
	}
}

// perAPI counts events by the API that they are of: "v1", or the whole type where it is no event of users.
func perAPI(events []event) map[string]int {
	made := map[string]int{}
	for _, e := range events {
		api, found := strings.CutPrefix(e.as, "users.events.")
		if found {
			api, _, _ = strings.Cut(api, ".")
		}
		made[api]++
	}
	return made
}

// twins checks that a version was told once in each type, and by all of its events as the history has it. History and
// mailer keep one of them: what the others say is nowhere but here.
func (c *checker) twins() {
	type telling struct {
		versionOf
		as string
	}
	seen := map[telling]bool{}
	for _, e := range c.books.outbox {
		place := telling{versionOf{e.key, e.version}, e.as}
		if seen[place] {
			c.add(onceMade, "of version %d of user %s the owner has made more than one event, as %s", e.version, e.key, e.as)
		}
		seen[place] = true
		if e.wrong != "" {
			c.add(equal, "the owner has made event %s, version %d of user %s, and %s", e.id, e.version, e.key, e.wrong)
			continue
		}
		if h, there := c.at(e.key, e.version); there && (h.kind != e.kind || h.user != e.user) {
			c.add(equal, "version %d of user %s is told as %+v by the %s, and audit has %+v by the %s", e.version, e.key, e.user, e.as, h.user, h.as)
		}
	}
}

// directory compares the projection with the owner.
func (c *checker) directory() {
	for id, u := range c.books.users {
		p, there := c.books.people[id]
		switch {
		case u.deleted && !p.deleted && there:
			c.add(noDeleted, "directory has user %s as %+v, who was deleted at version %d", id, p, u.version)
		case u.deleted && !there:
		case !there:
			c.add(noneMissing, "directory lacks user %s, who is at version %d", id, u.version)
		case p != u:
			c.add(equal, "the owner has user %s as %+v, and directory has %+v", id, u, p)
		}
	}
	for id, p := range c.books.people {
		if _, there := c.books.users[id]; !there {
			c.add(equal, "directory has user %s as %+v, whom the owner does not know", id, p)
		}
	}
	if n := c.books.terms; n > 0 {
		c.add(noDeleted, "%d terms of directory's index lead to somebody who is not there", n)
	}
}

// marks compares how far each reader is with each user.
func (c *checker) marks() {
	for service, in := range c.books.readers {
		for id, u := range c.books.users {
			if v := in.marks[id]; v < u.version {
				c.add(noneMissing, "%s has done user %s up to version %d, who is at version %d", service, id, v, u.version)
			} else if v > u.version {
				c.add(nonePhantom, "%s has done user %s up to version %d, who is at version %d", service, id, v, u.version)
			}
		}
		for id := range in.marks {
			if _, there := c.books.users[id]; !there && !strings.HasPrefix(id, garbageKey) {
				c.add(nonePhantom, "%s has done user %s, whom the owner does not know", service, id)
			}
		}
		for what, n := range map[string]int64{"holes": in.holes, "events that wait for others": in.waiting} {
			if n > 0 {
				c.add(noneMissing, "%s has %d %s", service, n, what)
			}
		}
		if in.queued > 0 {
			c.add(quiet, "%s has %d reactions still to perform", service, in.queued)
		}
	}
}

// place is one key's notes of one kind.
type place struct {
	what   string
	source int64
	key    string
}

// notes goes through what the triggers have written down. A mark, a person and a history go up, and never to the same
// version again; a history by one each time; and a mail is queued once.
func (c *checker) notes() {
	for _, service := range slices.Sorted(maps.Keys(c.books.readers)) {
		at := map[place]uint64{}
		for _, n := range c.books.readers[service].notes {
			p := place{n.what, n.source, n.key}
			before, known := at[p]
			switch {
			case n.what == "queued":
				if known {
					c.add(onceHandled, "%s has queued a mail for user %s more than once", service, n.key)
				}
			case n.what == "event" && n.source != 0:
				continue // without versions
			case known && n.version == before:
				c.add(onceHandled, "%s: %s %s was brought to version %d a second time", service, n.what, n.key, n.version)
			case known && n.version < before:
				c.add(inOrder, "%s: %s %s was brought to version %d, after version %d", service, n.what, n.key, n.version, before)
			case n.what == "event" && n.version != before+1:
				c.add(inOrder, "%s: the history of %s goes on with version %d, after version %d", service, n.key, n.version, before)
			}
			at[p] = n.version
		}
	}
}

// aside looks at what was parked: only what nobody could take.
func (c *checker) aside() {
	for service, in := range c.books.readers {
		for _, p := range in.parked {
			if p.source == "" || strings.HasPrefix(p.key, garbageKey) {
				continue // no event at all, or wrong data
			}
			c.add(nothingParked, "%s has put aside event %s, a %s of %s, version %d of %s: %s", service, p.id, p.kind, p.source, p.version, p.key, p.err)
		}
	}
}
