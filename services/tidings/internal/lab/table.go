package lab

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// labels name the rows of the table, in the order of [Outcome.cells].
var labels = [...]string{
	"written while directory was down",
	"missed by directory",
	"… counted by directory itself",
	"caught up after restart",
	"a brand-new service received",
}

// cells are the numbers of a column.
func (o Outcome) cells(p *message.Printer) [len(labels)]string {
	caughtUp := "never"
	if o.CaughtUp != nil {
		caughtUp = p.Sprintf("%.1f s", *o.CaughtUp)
	}
	return [...]string{p.Sprint(o.WhileDown), p.Sprint(o.Missed), p.Sprint(o.Counted), caughtUp, p.Sprint(o.NewcomerReceived)}
}

// apart is how far the columns of the table stand apart; labels stand a little further.
const apart, further = 3, 2

// Write prints r as a table for people, with what was measured against, and the conclusion.
func (r Report) Write(w io.Writer) error {
	var all strings.Builder
	if err := r.writeTable(&all); err != nil {
		return err
	}
	var out strings.Builder
	for line := range strings.Lines(all.String()) {
		out.WriteString(line[apart:]) // a tabwriter keeps the first column apart, too, from nothing
	}
	fmt.Fprintln(&out)
	for _, o := range r.Buses {
		fmt.Fprintf(&out, "%s: %s (%s)\n", o.name(), o.Server(), o.Guarantees)
	}
	fmt.Fprintln(&out, r.Conclusion())
	_, err := io.WriteString(w, out.String())
	return err
}

// writeTable writes a row for each label. Numbers stand on the right and labels on the left, and a tabwriter knows one
// side only: so labels are filled up to the same width.
func (r Report) writeTable(w io.Writer) error {
	p, wide := message.NewPrinter(language.English), 0
	for _, label := range labels {
		wide = max(wide, utf8.RuneCountInString(label))
	}
	t := tabwriter.NewWriter(w, 0, 0, apart, ' ', tabwriter.AlignRight)
	line := func(label string, cell func(Outcome) string) {
		fmt.Fprintf(t, "%-*s\t", wide+further, label)
		for _, o := range r.Buses {
			fmt.Fprint(t, cell(o), "\t")
		}
		fmt.Fprintln(t)
	}
	line("", Outcome.name)
	for i, label := range labels {
		line(label, func(o Outcome) string { return o.cells(p)[i] })
	}
	return t.Flush()
}
