package e2e

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// death is a service that is killed by itself at a point, "inbox.D8a:2": the second time that it comes there.
type death struct {
	service, at string
	more        []string // told to it beside
	silent      bool     // nobody writes meanwhile
}

// point is the row of the table.
func (d death) point() string {
	point, _, _ := strings.Cut(d.at, ":")
	return point
}

// thorough reports whether the walk may take its time: in the gate, and for who has brought up servers.
func thorough() bool { return os.Getenv("CI") == "true" || os.Getenv(kinds[0].variable) != "" }

// walk is deaths on one platform: those of a line at a time, one line after another.
type walk struct {
	name     string
	real     bool // on a real Kafka
	redis    bool
	postgres bool
	fresh    bool // nothing runs before the first line
	long     bool // only where there is time
	lines    [][]death
}

// purging makes an owner purge at once what it has sent.
func purging(at string) death {
	return death{service: "users", at: at, more: []string{"--outbox-keep=1ns"}}
}

// line is deaths of the owner and the readers; "" is none.
func line(users, directory, audit, mailer string) (deaths []death) {
	for _, d := range []death{
		{service: "directory", at: directory}, {service: "audit", at: audit}, {service: "mailer", at: mailer},
		{service: "users", at: users},
	} {
		if d.at != "" {
			deaths = append(deaths, d)
		}
	}
	return deaths
}

// walks are all deaths but those of waitAndDie and parkAndDie. The platforms die side by side, so that the walk is short.
func walks() []walk {
	return []walk{
		{name: "kafka 1", long: true, fresh: true, lines: [][]death{
			line("outbox.1a:3", "inbox.D0a", "inbox.D0b", "inbox.R1a:2"),
			line("outbox.3b:2", "inbox.D2:2", "inbox.D3:2", ""),
			line("outbox.6a:9", "", "inbox.D7b:2", "inbox.D5:2"),
			append(line("", "inbox.D9:2", "", "inbox.R2:2"), purging("outbox.8a")),
		}},
		{name: "kafka 2", long: true, lines: [][]death{
			line("outbox.1b:5", "inbox.D1:2", "", "inbox.R1b:2"),
			line("outbox.2b:3", "", "inbox.D8b:2", "inbox.R3a:2"),
			line("outbox.5a:9", "inbox.D8a:2", "inbox.D4a:2", ""),
			line("outbox.7a:2", "inbox.D10b", "", "inbox.D8b:2"),
		}},
		{name: "kafka 3", long: true, lines: [][]death{
			line("outbox.2a:6", "", "inbox.D10a", "inbox.R3b:2"),
			line("outbox.3a", "inbox.D7b:2", "inbox.D7a:2", ""),
			line("outbox.6b:2", "inbox.D4a:2", "", "inbox.D8a:2"),
			append(line("", "", "inbox.D8a:2", "inbox.R2"), purging("outbox.8b")),
			line("outbox.7b:2", "inbox.D8b:2", "", ""),
		}},
		{name: "redis", redis: true, lines: [][]death{
			line("outbox.4a:2", "", "", ""),
			line("outbox.4b:2", "", "", ""),
			{{service: "users", at: "outbox.9a", silent: true}}, // heartbeats are for when there is nothing to send
			line("", "inbox.D7c:2", "", ""),
		}},
		{name: "kafka real", real: true, lines: [][]death{
			line("outbox.5a:9", "inbox.D10a", "inbox.D0b", "inbox.D8a:2"),
			line("outbox.6a:9", "inbox.D9:2", "inbox.D10b", "inbox.D8b:2"),
		}},
		{name: "postgres", postgres: true, lines: [][]death{
			line("outbox.1b:5", "inbox.D8a:2", "inbox.D7b:2", "inbox.R1a:2"),
			line("outbox.2a:6", "inbox.D2:2", "inbox.D8b:2", "inbox.R1b:2"),
			line("outbox.7a:2", "inbox.D0a", "inbox.D4a:2", "inbox.R3a:2"),
		}},
	}
}

// inARow is the short form of all long walks: each point once, on one platform, where a service that has died is started
// only to die at its next point, and everything is checked at the end.
func inARow(walks []walk) walk {
	all := walk{name: "kafka in a row", fresh: true, lines: make([][]death, 1)}
	taken := map[string]bool{}
	for _, w := range walks {
		if !w.long {
			continue
		}
		for _, d := range slices.Concat(w.lines...) {
			if !taken[d.point()] {
				taken[d.point()] = true
				all.lines[0] = append(all.lines[0], d)
			}
		}
	}
	return all
}

// heldBack are the deaths of those who hold an event back: see waitAndDie.
func heldBack() []death { return line("", "", "inbox.D6", "inbox.D6") }

// tableRow is how a row of a table begins in the text of a package's documentation.
var tableRow = regexp.MustCompile(`(?m)^\t([DPR]?\d+[a-z]?)[ \t]`)

// table is the points that a package of the library lists in its documentation.
func table(t *testing.T, pkg string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "bus", pkg, "doc.go"), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var points []string
	for _, m := range tableRow.FindAllStringSubmatch(file.Doc.Text(), -1) {
		points = append(points, pkg+"."+m[1])
	}
	if len(points) == 0 {
		t.Fatalf("no table in the documentation of %s", pkg)
	}
	return points
}

// What is planned here is what happens: a death that doesn't come fails its test. Walks that not everybody takes don't
// count.
func TestEveryRowOfTheTablesIsADeathInSomeWalk(t *testing.T) {
	parks, tries := parkedDeaths()
	planned := slices.Concat(heldBack(), []death{parks}, tries)
	for _, w := range append(walks(), inARow(walks())) {
		if !w.long && !w.real && !w.postgres {
			planned = append(planned, slices.Concat(w.lines...)...)
		}
	}
	rows := slices.Concat(table(t, "outbox"), table(t, "inbox"))
	for _, row := range rows {
		if !slices.ContainsFunc(planned, func(d death) bool { return d.point() == row }) {
			t.Errorf("nobody dies at %s", row)
		}
	}
	for _, d := range planned {
		if !slices.Contains(rows, d.point()) {
			t.Errorf("%s is to die at %s, which is no row of a table", d.service, d.at)
		}
	}
}
