package inbox

// Group returns the name of the consumer group on the wire: Config.Group and, behind a dot, the id of the database.
func (in *Inbox) Group() string { return in.group }

// TypesOf returns what [Inbox.Types] of an inbox with these routes says, without one: for who wants to know what a
// service reads where its database isn't. Faults of the routes are for [New] to tell.
func TypesOf(routes ...Route) []string {
	t, _ := newTable(routes)
	return (&Inbox{routes: t}).Types()
}
