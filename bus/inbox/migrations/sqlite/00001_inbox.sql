-- +goose Up
-- +goose StatementBegin

-- The database's own id, made once: it stands in the wire name of every group, so that a second database never
-- takes half of the first one's partitions.
CREATE TABLE tidings_inbox_database (
    id TEXT NOT NULL PRIMARY KEY
);
INSERT INTO tidings_inbox_database (id) VALUES (lower(hex(randomblob(4))));

-- Each source that a group has seen. Marks name it by its number, which keeps them small.
CREATE TABLE tidings_inbox_source (
    id     INTEGER NOT NULL PRIMARY KEY,
    grp    TEXT    NOT NULL,
    source TEXT    NOT NULL,
    UNIQUE (grp, source)
);

-- The mark: the last version of a key that was done.
CREATE TABLE tidings_inbox_mark (
    source  INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (source, key)
) WITHOUT ROWID;

-- Events without a version that were done.
CREATE TABLE tidings_inbox_done (
    source INTEGER NOT NULL,
    id     TEXT    NOT NULL,
    PRIMARY KEY (source, id)
) WITHOUT ROWID;

-- Where to read on. whole is 1 where the group has read the partition from the log's very start, so that the first
-- version of every key in it is 1.
CREATE TABLE tidings_inbox_position (
    grp   TEXT    NOT NULL,
    topic TEXT    NOT NULL,
    part  INTEGER NOT NULL,
    log   TEXT    NOT NULL,
    next  INTEGER NOT NULL,
    whole INTEGER NOT NULL,
    PRIMARY KEY (grp, topic, part)
) WITHOUT ROWID;

-- Versions of a key that a history waited for in vain: from first to last, both included.
CREATE TABLE tidings_inbox_hole (
    source INTEGER NOT NULL,
    key    TEXT    NOT NULL,
    first  INTEGER NOT NULL,
    last   INTEGER NOT NULL,
    PRIMARY KEY (source, key, first)
) WITHOUT ROWID;

-- Events that came before versions of their key that are missing. until is in milliseconds since 1970.
CREATE TABLE tidings_inbox_waiting (
    source   INTEGER NOT NULL,
    key      TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    until    INTEGER NOT NULL,
    topic    TEXT    NOT NULL,
    log      TEXT    NOT NULL,
    part     INTEGER NOT NULL,
    off      INTEGER NOT NULL,
    envelope BLOB    NOT NULL,
    PRIMARY KEY (source, key, version)
);
CREATE INDEX tidings_inbox_waiting_until ON tidings_inbox_waiting (until);

-- Events that a handler could not take. raw is the envelope, or the record's bytes where it held no event.
-- have is the last version of the key that was applied before; 0 where there is none.
CREATE TABLE tidings_inbox_parked (
    id       INTEGER NOT NULL PRIMARY KEY,
    grp      TEXT    NOT NULL,
    state    TEXT    NOT NULL,
    source   TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    have     INTEGER NOT NULL,
    type     TEXT    NOT NULL,
    event_id TEXT    NOT NULL,
    reaction INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    error    TEXT    NOT NULL,
    time     INTEGER NOT NULL,
    topic    TEXT    NOT NULL,
    log      TEXT    NOT NULL,
    part     INTEGER NOT NULL,
    off      INTEGER NOT NULL,
    raw      BLOB    NOT NULL
);
CREATE INDEX tidings_inbox_parked_key ON tidings_inbox_parked (grp, source, key, version);
-- A record that is read again is not parked again; on a bus without a log every offset is -1.
CREATE UNIQUE INDEX tidings_inbox_parked_at ON tidings_inbox_parked (grp, topic, log, part, off, reaction) WHERE off >= 0;

-- Reactions still to be performed, in order of seq within a key. due is when the row may be taken, in milliseconds
-- since 1970: at once, after a failed try's delay, or once the lease of the one who is sending has run out.
CREATE TABLE tidings_inbox_queue (
    seq      INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    source   INTEGER NOT NULL,
    key      TEXT    NOT NULL,
    state    TEXT    NOT NULL,
    attempts INTEGER NOT NULL,
    due      INTEGER NOT NULL,
    owner    TEXT    NOT NULL,
    error    TEXT    NOT NULL,
    topic    TEXT    NOT NULL,
    log      TEXT    NOT NULL,
    part     INTEGER NOT NULL,
    off      INTEGER NOT NULL,
    envelope BLOB    NOT NULL
);
CREATE INDEX tidings_inbox_queue_key ON tidings_inbox_queue (source, key, seq);
CREATE INDEX tidings_inbox_queue_due ON tidings_inbox_queue (due, seq);

-- What was counted, by name: see counter.go.
CREATE TABLE tidings_inbox_counter (
    grp  TEXT    NOT NULL,
    name TEXT    NOT NULL,
    n    INTEGER NOT NULL,
    PRIMARY KEY (grp, name)
) WITHOUT ROWID;

-- Types that came and that no route takes; a release that takes one of them has missed these.
CREATE TABLE tidings_inbox_ignored (
    grp  TEXT    NOT NULL,
    type TEXT    NOT NULL,
    n    INTEGER NOT NULL,
    PRIMARY KEY (grp, type)
) WITHOUT ROWID;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DROP TABLE tidings_inbox_ignored;
DROP TABLE tidings_inbox_counter;
DROP TABLE tidings_inbox_queue;
DROP TABLE tidings_inbox_parked;
DROP TABLE tidings_inbox_waiting;
DROP TABLE tidings_inbox_hole;
DROP TABLE tidings_inbox_position;
DROP TABLE tidings_inbox_done;
DROP TABLE tidings_inbox_mark;
DROP TABLE tidings_inbox_source;
DROP TABLE tidings_inbox_database;
-- +goose StatementEnd
