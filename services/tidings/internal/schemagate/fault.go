package schemagate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that the gate doesn't let through.
type Fault struct {
	File    string // from the checkout's top, with slashes
	Line    int    // 0 where the file has none, or is gone
	Rule    string // of buf, such as FIELD_NO_DELETE, or of the corpus, such as CORPUS_LACKS
	What    string // is wrong
	Since   string // the oldest release that it breaks: "0.1.0"; "" where it breaks none
	Instead string // what to do
}

// String tells the fault in two lines: what and where, and what to do instead.
func (f Fault) String() string {
	where := f.File
	if f.Line > 0 {
		where = fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	since := ""
	if f.Since != "" {
		since = " (released in " + f.Since + ")"
	}
	return fmt.Sprintf("%s: %s: %s%s\n    instead: %s", where, f.Rule, strings.TrimSuffix(f.What, "."), since, f.Instead)
}

// FaultsError is returned by what needs a checkout without faults.
type FaultsError struct{ Faults []Fault }

// Error lists the faults.
func (e *FaultsError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "schema check: %s", plural(len(e.Faults), "fault"))
	for _, f := range e.Faults {
		b.WriteString("\n" + f.String())
	}
	return b.String()
}

// plural is "1 fault", "2 faults".
func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprint(n, " ", what)
}

// once tells each fault once, in the order of files and lines. Of those that several releases show, the one of the oldest
// stays, which must come first.
func once(faults []Fault) []Fault {
	type key struct{ file, rule, what string }
	seen := map[key]bool{}
	var kept []Fault
	for _, f := range faults {
		k := key{f.File, f.Rule, f.What}
		if !seen[k] {
			seen[k] = true
			kept = append(kept, f)
		}
	}
	slices.SortStableFunc(kept, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return kept
}
