// Package platform runs all of Tidings in one process: the embedded broker, unless a real one is named, and the four
// services, each exactly as its own program runs it. They share nothing but the process: each has its own database
// and its own connection to the bus, and can be stopped and started by name while the others go on.
package platform
