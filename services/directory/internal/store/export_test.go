package store

// Candidates is what a search asks, and HoldersOf what a look-up of an address does, on either database.
var (
	Candidates = candidates
	HoldersOf  = holders
)
