// Package control is how one terminal speaks to the platform that runs in another: `tidings status`, `stop` and
// `start` are its clients. It is HTTP with JSON on a loopback address, belongs to `tidings up` alone, and no service
// knows of it.
package control
