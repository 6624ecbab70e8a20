// Package e2e holds the process tests: real programs, built and started as a person would, stopped and killed while
// others go on, against a broker that is a process of its own. It has no code but tests.
//
// Without TIDINGS_TEST_KAFKA the broker is the embedded one, in a process of its own. With it, the same tests run
// against a real Kafka too: the one that it names, and, where a test stops the broker, one that the test brings up
// for itself by .ci/real.
package e2e
