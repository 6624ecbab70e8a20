// Package embedded runs message brokers inside the process: for first runs, tests and laptops, so that nothing has
// to be installed to see events flow. They speak the real protocols, so that the same clients, and other processes
// on the same machine, talk to them as to the real thing.
//
// They are no substitute for the real thing where events must not be lost: there is one copy of the log, on the
// disk of one machine, behind no password, and the broker goes down with the process. They listen on loopback only.
//
// There is one file a broker: kafka.go, redis.go.
package embedded
