// Package database opens the one database that a service owns, and brings its tables up to date.
//
// # SQLite
//
// It is what a service gets without asking: one file, made with its folder at the first start. [Open] sets it
// up for one writer at a time and many readers: a write-ahead log, commits that outlive a power cut, transactions
// that take the write lock at once, so that none fails halfway for having read first. Reads wait for no writer. The file
// is one process's: a second one is refused.
//
// A transaction begun on [DB] takes the write lock, even one that only reads. So read with single statements, each
// of which sees one state of the database, and write through the outbox's or the inbox's transactions.
//
// # Postgres
//
// It is for replicas of a service, which share it: postgres://user@host:5432/database. A service keeps to one schema,
// named after it unless ?schema= or ?search_path= names another, and made if it is missing: so the four services may be
// given the same address, and are kept apart. A schema that belongs to another service is refused.
//
// The password never stands in the address. It comes from ?password.file=PATH, else from TIDINGS_DB_PASSWORD, else from
// where libpq looks: PGPASSWORD, ?passfile=PATH, ~/.pgpass. The parameters:
//
//	schema            the schema; search_path says the same, and takes one name too
//	pool_max_conns    10; connections of this process at most, 4 or more
//	password.file     file that holds nothing but the password
//	connect_timeout   5; seconds
//	tcp_user_timeout  15000; milliseconds that what was sent may stay unacknowledged
//
// and of libpq's: application_name, channel_binding, passfile, require_auth, sslcert, sslkey, sslmode, sslnegotiation,
// sslrootcert, sslsni, target_session_attrs. With several hosts, the one that takes writes is used.
//
// A commit is on disk when it is answered: synchronous_commit is raised to "on" where it is less. A statement whose
// context ends is cancelled on the server, and the connection stays. A process that stops inside a transaction loses it
// after 30 s, so that its replicas don't wait for its locks. A pooler between must be in session mode, for a session has
// settings, prepared statements, and the lock of the migrations.
//
// # For both
//
// Callers write $1, $2 … for parameters, which SQLite and Postgres both take, in the order of their numbers, and keep
// what differs between the two by [DB.Dialect]: a folder of migrations for each, and hardly more. Texts are compared
// byte by byte on both (COLLATE "C" in the migrations of Postgres), and hold what [Text] leaves. Where replicas write
// side by side, each takes its rows' locks in the order of keys, and touches a row once in a statement.
package database
