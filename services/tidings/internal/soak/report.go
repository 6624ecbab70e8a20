package soak

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is what was done and counted, as tables for people.
func (s *run) report(t *trial, garbage map[string]int, found *findings) string {
	var b strings.Builder
	table := func(head string, rows ...[]string) {
		fmt.Fprintf(&b, "\n%s\n", head)
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
		for _, row := range rows {
			fmt.Fprintf(w, "  %s\t\n", strings.Join(row, "\t"))
		}
		_ = w.Flush() // a Builder takes everything
	}
	table("faults", s.faultRows()...)
	table("writes", writeRows(t.writes)...)
	table("reads that insisted on a version", countRows(s.ledger.asked)...)
	table("published beside the owner", countRows(garbage)...)
	table("databases", bookRows(t.books)...)
	table("mails", append(s.mailRows(t), countRows(found.repeats)...)...)
	table("seconds from asking for a user to the mail", waitRows(t)...)
	table("processes", s.processRows()...)
	fmt.Fprintf(&b, "\nstart %.1f s, faults %.1f s, until quiet %.1f s, check %.1f s\n",
		s.times.start.Seconds(), s.times.faults.Seconds(), s.times.rest.Seconds(), s.times.check.Seconds())
	fmt.Fprintf(&b, "%d violations\n", found.len())
	return b.String()
}

// faultRows counts the steps as they were carried out: a broker that is away can keep one from having any effect, which is
// no fault of the platform, and is counted as failed.
func (s *run) faultRows() [][]string {
	counts, lasted, failed := map[Fault]int{}, map[Fault]time.Duration{}, map[Fault]int{}
	for _, d := range s.nemesis.done {
		counts[d.Fault]++
		lasted[d.Fault] += d.Ended.Sub(d.Begun)
		if d.Err != nil {
			failed[d.Fault]++
		}
	}
	rows := [][]string{{"", "times", "seconds", "failed"}}
	for _, t := range traits {
		if n := counts[t.fault]; n > 0 {
			rows = append(rows, []string{string(t.fault), number(n), fmt.Sprintf("%.1f", lasted[t.fault].Seconds()), number(failed[t.fault])})
		}
	}
	return rows
}

// writeRows counts writes by what was asked and what became of it.
func writeRows(writes []Write) [][]string {
	counts := map[Verb]map[Outcome]int{Create: {}, Update: {}, Delete: {}}
	insists := map[Outcome]int{}
	for _, w := range writes {
		counts[w.Verb][w.Outcome]++
		if w.IfMatch > 0 {
			insists[w.Outcome]++
		}
	}
	rows := [][]string{{"", string(Acknowledged), string(Refused), string(Unknown)}}
	for _, verb := range []Verb{Create, Update, Delete} {
		rows = append(rows, outcomes(string(verb), counts[verb]))
	}
	return append(rows, outcomes("… with If-Match", insists))
}

// outcomes is a row of counts by outcome.
func outcomes(name string, n map[Outcome]int) []string {
	return []string{name, number(n[Acknowledged]), number(n[Refused]), number(n[Unknown])}
}

// countRows is a row for each count, in order of their names.
func countRows(counts map[string]int) (rows [][]string) {
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		rows = append(rows, []string{what, number(counts[what])})
	}
	return rows
}

// bookRows shows how much there was to check: a run in which nothing was written finds nothing wrong either.
func bookRows(b *books) [][]string {
	deleted := 0
	for _, u := range b.users {
		if u.deleted {
			deleted++
		}
	}
	rows := [][]string{
		{"", "rows", "marks", "changes noted", "parked"},
		{users, number(len(b.users)), "", "", ""},
		{"… deleted", number(deleted), "", "", ""},
	}
	made := perAPI(b.outbox)
	for _, api := range slices.Sorted(maps.Keys(made)) {
		rows = append(rows, []string{"… events of " + api, number(made[api]), "", "", ""})
	}
	held := map[string]int{directory: len(b.people), audit: len(b.events), mailer: len(b.messages)}
	for _, service := range readers {
		in := b.readers[service]
		rows = append(rows, []string{service, number(held[service]), number(len(in.marks)), number(len(in.notes)), number(len(in.parked))})
	}
	return rows
}

// mailRows compares what was queued with what was taken.
func (s *run) mailRows(t *trial) [][]string {
	each := map[string]int{}
	for _, m := range t.mails {
		each[m.ID]++
	}
	_, refused := s.mail.taken()
	return [][]string{
		{"queued", number(len(t.books.messages))},
		{"taken by the mail server", number(len(t.mails))},
		{"refused for now", number(refused)},
		{"taken again, under the same Message-ID", number(len(t.mails) - len(each))},
	}
}

// waitRows shows how long the whole way took, from the request to the mail server, through door, outbox, log, inbox and
// queue: it tells whether the platform went on while it was tormented, or stood still until it was healed.
func waitRows(t *trial) [][]string {
	asked, mailed := map[string]time.Time{}, map[string]time.Time{}
	for _, w := range t.writes {
		if w.Verb == Create && w.User != "" {
			asked[w.User] = w.Begun
		}
	}
	for _, m := range t.mails {
		id, _, _ := cutLast(m.ID)
		if _, again := mailed[id]; !again {
			mailed[id] = m.At
		}
	}
	var took []float64
	for _, m := range t.books.messages {
		if from, at := asked[m.user], mailed[m.mail]; !from.IsZero() && !at.IsZero() {
			took = append(took, at.Sub(from).Seconds())
		}
	}
	if len(took) == 0 {
		return nil
	}
	slices.Sort(took)
	at := func(part float64) string { return fmt.Sprintf("%.1f", took[int(part*float64(len(took)-1))]) }
	return [][]string{{"half", "90 %", "99 %", "longest"}, {at(0.5), at(0.9), at(0.99), at(1)}}
}

// processRows shows how often each process was started, and how often it ended with nobody having asked for it: at its
// start that is what it does while its database is away.
func (s *run) processRows() [][]string {
	rows := [][]string{{"", "started", "ended by itself"}}
	var all []*process
	all = append(all, s.brokers.all...)
	for _, one := range s.services {
		all = append(all, one.process)
	}
	for _, p := range all {
		starts, ended := p.story()
		rows = append(rows, []string{p.name, number(starts), number(len(ended))})
	}
	return rows
}

// number writes 12,345.
func number(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
