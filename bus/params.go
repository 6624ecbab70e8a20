package bus

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// ParseParams checks the query of a bus URL for backends: every parameter must be one of known and stand there
// once. The error names every one that is wrong, and the right one where it is easily guessed:
//
//	unknown parameter "ack"; did you mean "acks"?
//
// Parameters that are absent have no entry in the map.
func ParseParams(u *url.URL, known ...string) (map[string]string, error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("parameters: %w", err)
	}
	params := make(map[string]string, len(query))
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch {
		case !slices.Contains(known, name):
			faults = append(faults, unknownParam(name, known))
		case len(query[name]) > 1:
			faults = append(faults, fmt.Errorf("parameter %q stands there %d times", name, len(query[name])))
		default:
			params[name] = query[name][0]
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return params, nil
}

func unknownParam(name string, known []string) error {
	best, distance := "", 3 // further away than two letters is no typing error
	for _, k := range known {
		// A short name is within two letters of any other one.
		if d := levenshtein.ComputeDistance(strings.ToLower(name), k); d < distance && d < len(k) {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Errorf("unknown parameter %q; did you mean %q?", name, best)
	}
	if len(known) == 0 {
		return fmt.Errorf("unknown parameter %q; there are none", name)
	}
	return fmt.Errorf("unknown parameter %q; there is %s", name, strings.Join(known, ", "))
}
