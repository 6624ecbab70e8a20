// Package door is the HTTP write door of the users service: what a client of it may rely on.
//
//	POST   /v1/users       CreateUserRequest   201, the User, Location, ETag
//	PATCH  /v1/users/{id}  UpdateUserRequest   200, the User, ETag
//	DELETE /v1/users/{id}  no body             204, ETag
//
// Bodies are protobuf messages as JSON, in UTF-8, of at most 64 KiB. A write is answered once it is committed, and
// waits for nothing else: whether anybody hears of the change is the outbox's affair.
//
// The messages' comments say what each field may hold, and what is stored of it. Fields are taken in both spellings of
// protobuf's JSON, displayName and display_name, and answered in the first; in an answer a field that is empty is left
// out. What those comments leave open:
//
//   - A name comes in one string or in parts. In an answer it is in both: the parts are those that were sent, and of a
//     name in one string what stands before and behind its last space.
//   - A PATCH of name with the name that is there changes nothing, and the parts stay: a client that knows of the name
//     alone sends it back with other changes, and says nothing of the parts. So do the parts that the name has by
//     itself, unless white space stands at their ends. To give up the order, send the parts without it.
//   - Each part is one line in which something can be seen, like a name. Where a name in parts is too long, or is none,
//     the fault is the given name's, or the family name's if that was sent alone.
//   - nameOrder is the name of a value, or its number; a number that there is no name of is refused.
//   - A locale must be of registered subtags, and a script that the language is written in anyway is left out (en-Latn
//     becomes en); names with an underscore, as systems have them, are refused.
//   - A number has 2 to 15 digits. A zero in brackets, +41 (0)44, is refused and not removed: it would be another number.
//
// The ETag is the user's version in quotes: "3". If-Match with one that is not current answers 412, and the current
// one; weak ETags match nothing. If-None-Match: * answers 412 for every user that is there. A request that is sent again is safe: POST answers 409 with the Location of who has
// the address, a PATCH that changes nothing keeps the version, and DELETE of a user that is gone answers as before.
//
// Every refusal is an application/problem+json (RFC 9457) that says what to do about it:
//
//	400  the body, If-Match or If-None-Match can't be used; errors lists every field at fault: {"field": …, "detail": …}
//	404  there is no such path or user, or the user was deleted
//	405  this path takes other methods, which Allow lists
//	408  the request did not arrive within 10 seconds
//	409  another user has the address; Location says which
//	412  the user is at another version than If-Match says, or If-None-Match is *; ETag says at which version it is
//	413  the body is over 64 KiB
//	415  the body is not application/json
//	431  the header is over 16 KiB
//	500  a fault of ours, which the log tells
//	503  the database can't commit just now; Retry-After says when to try again
//
// A 503 says that nothing was stored, unless it has "outcome": "unknown". That one comes on Postgres alone, when the
// connection breaks between COMMIT and its answer, and nothing could be found out for some seconds after: the write may
// have been stored. Sending it again makes nothing twice, and tells:
//
//   - POST answers 201 if the first was not stored, and 409 if it was. The 503's Location is that of the user that the
//     first was to make: a 409 with the same one is about one's own user, with another one about somebody else's.
//   - PATCH without If-Match may undo what others have changed in between. With it, 412 says that somebody has changed
//     the user since: oneself or another, which reading it shows. With 200 it is made now.
//   - DELETE answers 204 either way.
//
// What is no HTTP, breaks off in its header, or has one of over 256 KiB, is refused by net/http itself, in plain text.
// There are no accounts here and no TLS: whoever reaches the door may write, so it listens on loopback by default.
package door
