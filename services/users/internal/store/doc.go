// Package store keeps users in the service's own database, and with each change, in the very transaction, the event
// that tells others of it, or the events, one of each version of their API that is told. What it has to be sure of
// stands here, so that no caller can get it wrong:
//
//   - A version is given out under the lock of the user's row (on SQLite, the write lock), in the transaction that
//     stores the change and the event: 1, 2, 3 …, none twice, none left out, and none published that was not stored.
//   - A change that nobody could see the difference of gets no version and no event.
//   - A name in one string is always there, and parts of it, where there are any, make up that very string.
//   - No two users hold an address that [Fold] makes alike.
//   - A deleted user leaves a tombstone for ever, so that its id and its versions are never given out again. It holds
//     nothing else.
//
// Writes share commits with others that wait at the same moment, and none is answered before the commit, refusals
// included: what a refusal says is then stored too.
package store
