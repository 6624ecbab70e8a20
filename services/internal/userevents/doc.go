// Package userevents is what services need to know of the events of users beyond their descriptors: how a name in one
// string, as users.events.v1 has it, and a name in parts, as users.events.v2 has it, become each other, how an event of
// v1 becomes one of v2, and how either is read.
package userevents
