// Package door is the HTTP write door of the users service: what a client of it may rely on.
//
//	POST   /v1/users       CreateUserRequest   201, the User, Location, ETag
//	PATCH  /v1/users/{id}  UpdateUserRequest   200, the User, ETag
//	DELETE /v1/users/{id}  no body             204, ETag
//
// Bodies are protobuf messages as JSON, in UTF-8, of at most 64 KiB. A write is answered once it is committed, and
// waits for nothing else: whether anybody hears of the change is the outbox's affair.
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
