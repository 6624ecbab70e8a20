// Package lab shows what a log is good for, by an experiment that was once an accident: a service is down while its
// events are sent, and another one is new and wants what was sent before it was there.
//
// The same happens on each bus in turn, through the platform as `tidings up` runs it, with data, a topic and, unless
// told otherwise, a broker of its own, all of which are gone at the end:
//
//  1. users and directory run, and directory is up to date
//  2. directory is stopped, and users are written through the write door until all of their events are sent
//  3. directory is started, and comes to rest: is it as the owner is?
//  4. as many users are written again, and it comes to rest again
//  5. a second directory is started, with an empty database, and comes to rest
//
// A service has come to rest when nothing more is on its way to it: on a bus with a log, when it has read to the
// log's end; on one without, when it has seen the highest number that the owner has given, which the owner repeats
// when it is idle. No step waits for a time to pass.
//
// What a service holds is not taken from its word: the lab asks its reads for everybody that was written. How many it
// believes to have missed is its word, and the two are compared.
package lab
