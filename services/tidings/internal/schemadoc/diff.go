package schemadoc

// Change is how one element differs between two states.
type Change struct {
	Change string `json:"change"` // added, removed or changed
	Element
	Was string `json:"was,omitempty"` // the detail that it had, where it was changed
	// Within says that what it is a part of was added or removed with it.
	Within bool `json:"within,omitempty"`
}

// Diff lists what differs between two states, in the order of to, and what is gone last.
func Diff(from, to *State) []Change {
	var changes []Change
	added := make(map[string]bool)
	for _, e := range to.elements {
		i, ok := from.byName[e.key()]
		switch {
		case !ok:
			added[e.Name] = true
			changes = append(changes, Change{Change: "added", Element: e, Within: added[e.parent]})
		case from.elements[i].Detail != e.Detail:
			changes = append(changes, Change{Change: "changed", Element: e, Was: from.elements[i].Detail})
		}
	}
	removed := make(map[string]bool)
	for _, e := range from.elements {
		if _, ok := to.byName[e.key()]; !ok {
			removed[e.Name] = true
			changes = append(changes, Change{Change: "removed", Element: e, Within: removed[e.parent]})
		}
	}
	return changes
}
