package store

// Candidates is what a search asks.
const Candidates = candidates
