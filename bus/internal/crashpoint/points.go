package crashpoint

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Variable is the name of the environment variable, which only a build with the tag tidings_crash reads.
const Variable = "TIDINGS_CRASH"

// All returns the points in the order of the tables.
func All() []string {
	return []string{
		"outbox.1a", "outbox.1b", "outbox.2a", "outbox.2b", "outbox.3a", "outbox.3b", "outbox.4a", "outbox.4b",
		"outbox.5a", "outbox.6a", "outbox.6b", "outbox.7a", "outbox.7b", "outbox.8a", "outbox.8b", "outbox.9a",
		"inbox.D0a", "inbox.D0b", "inbox.D1", "inbox.D2", "inbox.D3", "inbox.D4a", "inbox.D4b", "inbox.D5", "inbox.D6",
		"inbox.D7a", "inbox.D7b", "inbox.D7c", "inbox.D8a", "inbox.D8b", "inbox.D9", "inbox.D10a", "inbox.D10b",
		"inbox.R1a", "inbox.R1b", "inbox.R2", "inbox.R3a", "inbox.R3b",
		"inbox.P1", "inbox.P2", "inbox.P3a", "inbox.P3b",
	}
}

// Parse reads a setting, "inbox.D8a" or "inbox.D8a:3". Its error names every point there is, for whoever has mistyped one.
func Parse(setting string) (point string, passing int64, err error) {
	point, count, counted := strings.Cut(setting, ":")
	if !slices.Contains(All(), point) {
		return "", 0, fmt.Errorf("crashpoint: %s=%q: there is no such point; pass one of %s, with :n for the n-th passing",
			Variable, setting, strings.Join(All(), " "))
	}
	if !counted {
		return point, 1, nil
	}
	if passing, err = strconv.ParseInt(count, 10, 64); err != nil || passing < 1 {
		return "", 0, fmt.Errorf("crashpoint: %s=%q: the passing after the colon is not a number from 1 up", Variable, setting)
	}
	return point, passing, nil
}
