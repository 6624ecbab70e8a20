// Package schemadoc describes the contracts of the platform, as each release had them and as they are in this program:
// which types of events there are and who is said to publish and to read them, what a message holds and since when, and
// what was added between two releases. It also makes the AsyncAPI document of them.
//
// A [State] is the contracts at one time: of a release they come from its descriptor image, with comments; today's are
// those that the program was built with, and their comments come from the .proto files. Nothing is listed by hand: what
// is an event follows from the descriptors, and who publishes and reads it from the services' own routes.
package schemadoc
