// Package service is the audit: what became of each user, and when.
//
// It is a history: every event counts, so it keeps each as it came, whatever its type. What that means:
//
//   - Nothing is passed over in silence. Where versions of a user are missing, the later ones wait for them, for
//     --gap-wait; then the loss is a hole on record, which ListUserEvents shows in its place. An event that comes late
//     for a hole is still taken.
//   - The users service alone is believed: what others write to the topic is passed over, and counted, whoever it claims
//     to be about.
//   - Where a change is told by twins, the events of both versions, the first is kept, and the other discarded: one entry
//     a version. It says in its stored extensions that it had alternatives.
//   - Types that this release doesn't know are kept too, by their bytes: a later release can read them.
//   - Bytes are stored as they came. JSON is made when somebody reads, so that a release that knows more shows more.
//   - The events of a deleted user stay: deleting is not erasing.
//   - Only what the log still holds can be read again. A new audit on a log of finite retention begins with what is
//     left. On a bus that keeps nothing, what was told while it was down is a hole in the histories of those who are
//     heard of again; of the others it knows how many events it missed, and not whose.
package service
