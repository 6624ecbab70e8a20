// Package e2e holds the process tests: real programs, built and started as a person would, stopped and killed while
// others go on, against a server that is a process of its own. It has no code but tests.
//
// They run with the flag set to Kafka and to Redis PubSub, and read the same for both: see wire. What differs is what
// must be lost on a bus that keeps nothing, which a ledger knows. Without TIDINGS_TEST_KAFKA and TIDINGS_TEST_REDIS the
// server is the embedded one, in a process of its own. With them, the same tests run against real servers too: the ones
// that these name, and, where a test stops the server, one that the test brings up for itself by .ci/real. With
// TIDINGS_TEST_POSTGRES some run with services on Postgres too, in a database of the test's own, and those of replicas, which
// want both.
package e2e
