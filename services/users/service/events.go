package service

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidings-dev/tidings/services/users/internal/store"
)

// Events says in which versions of the events' API a change is told, best first, with commas in between: "v1", "v2,v1"
// or "v2". Where there are two, each change has an event of both, and a reader takes the better one that it can read. The
// zero Events, which no flag gives, is v1.
//
// It may be changed at every start: an event says by its type what it is. Readers of v1 alone have to be gone, and are
// to have read all that they want to, before v1 is left out.
type Events string

// known returns the versions that there are, best first.
func known() []store.API { return []store.API{store.V2, store.V1} }

// Check reports what can't be: versions that there are not, or are named twice, or are not in their order. Its error
// names the flag --events, and says what to pass instead.
func (e Events) Check() error {
	versions := e.versions()
	for i, v := range versions {
		switch {
		case !slices.Contains(known(), v):
			return fmt.Errorf("--events %q: there is no version %q; pass v1, v2,v1 or v2", string(e), v)
		case slices.Contains(versions[:i], v):
			return fmt.Errorf("--events %q: %s stands there twice; pass v1, v2,v1 or v2", string(e), v)
		}
	}
	if !slices.IsSortedFunc(versions, func(a, b store.API) int {
		return slices.Index(known(), a) - slices.Index(known(), b)
	}) {
		return fmt.Errorf("--events %q: the newest version is the best, and goes first; pass v2,v1", string(e))
	}
	return nil
}

// orDefault is versions, where a Config that no flags have filled in may have none.
func (e Events) orDefault() []store.API {
	if e == "" {
		return nil // which is the store's default
	}
	return e.versions()
}

// count is how many events each change has.
func (e Events) count() int { return max(1, len(e.orDefault())) }

// versions are those that e names, whatever they are.
func (e Events) versions() []store.API {
	var versions []store.API
	for name := range strings.SplitSeq(string(e), ",") {
		versions = append(versions, store.API(name))
	}
	return versions
}
