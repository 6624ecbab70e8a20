package service

import "github.com/tidings-dev/tidings/bus/inbox"

// Reads returns the types of the events that the directory reads, as [inbox.TypesOf] says it of its own routes.
func Reads() []string { return inbox.TypesOf(route(nil)) }
