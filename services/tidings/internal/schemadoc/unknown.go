package schemadoc

import (
	"fmt"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// UnknownError says that there is no such type or release, and what there is.
type UnknownError struct {
	What, Name string
	Nearest    []string // what may have been meant
	Known      []string // in order
}

// Error names the nearest, or all there are where they are few and none is near.
func (e *UnknownError) Error() string {
	text := fmt.Sprintf("there is no %s %q", e.What, e.Name)
	switch {
	case len(e.Nearest) > 0:
		return text + "; did you mean " + orList(e.Nearest) + "?"
	case len(e.Known) > 0 && len(e.Known) <= 8:
		return text + "; there is " + orList(e.Known)
	}
	return text + "; `tidings schema ls` lists the types of events"
}

func orList(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

func distance(lower, name string) int {
	return levenshtein.ComputeDistance(lower, strings.ToLower(name))
}

// unknown looks for what may have been meant: what ends like the name, for who leaves the package out, or else what is
// spelled most like it.
func unknown(what, name string, known []string) error {
	e := &UnknownError{What: what, Name: name, Known: slices.Sorted(slices.Values(known))}
	lower := strings.ToLower(name)
	least := max(2, len(name)/4) + 1
	for _, k := range e.Known {
		if name != "" && strings.HasSuffix(strings.ToLower(k), "."+lower) {
			e.Nearest = append(e.Nearest, k)
		}
	}
	if len(e.Nearest) > 0 {
		return e
	}
	for _, k := range e.Known {
		last := k[strings.LastIndexByte(k, '.')+1:] // who errs may leave the package out too
		switch d := min(distance(lower, k), distance(lower, last)); {
		case d < least && d < len(k):
			least, e.Nearest = d, []string{k}
		case d == least && len(e.Nearest) > 0:
			e.Nearest = append(e.Nearest, k)
		}
	}
	return e
}
