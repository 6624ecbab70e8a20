-- +goose Up
-- +goose StatementBegin

-- Parked events are tried again.
--
-- next is when, in milliseconds since 1970; 0 where nobody tries it. seq is a reaction's place in the queue.
--
-- line says where the row stands in the line of its key, in which later events have to do with earlier ones: the number
-- of the source for the one in front, which is tried; the same number, negative, for those behind it; 0 for a row that
-- stands in no line. So the front of a line is found by one step, however long the line is.
--
-- upto is the last version of the key that has changed nothing since: the event's own, and those after it that no route
-- takes. A mark beyond it says that a newer version has been applied.
--
-- The table is made anew, so that an id is never given twice: people name rows by it, and a discarded one is kept under it.
CREATE TABLE tidings_inbox_parked_new (
    id       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
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
    raw      BLOB    NOT NULL,
    next     INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    line     INTEGER NOT NULL,
    upto     INTEGER NOT NULL
);

-- What was parked before this release blocked nothing. It stands in a line only where nothing was applied after it. A
-- reaction's place was not kept: it gets one ahead of all that is queued, in the order of the rows.
INSERT INTO tidings_inbox_parked_new
    SELECT id, grp, state, source, key, version, have, type, event_id, reaction, attempts, error, time, topic, log, part, off, raw,
        0, CASE WHEN reaction = 1 THEN id - 1099511627776 ELSE 0 END,
        CASE WHEN state = 'dead' AND reaction = 0 AND version > 0 THEN COALESCE((
            SELECT s.id FROM tidings_inbox_source s JOIN tidings_inbox_mark m ON m.source = s.id
            WHERE s.grp = p.grp AND s.source = p.source AND m.key = p.key AND m.version = p.version), 0) ELSE 0 END,
        version
    FROM tidings_inbox_parked p ORDER BY id;
DROP TABLE tidings_inbox_parked;
ALTER TABLE tidings_inbox_parked_new RENAME TO tidings_inbox_parked;

CREATE INDEX tidings_inbox_parked_key ON tidings_inbox_parked (grp, source, key, version);
-- A log that was cut and filled again has other records at the same offsets: what is parked of one of before must not
-- pass for one of those. A record that is no event has no name but its bytes.
CREATE UNIQUE INDEX tidings_inbox_parked_at ON tidings_inbox_parked
    (grp, topic, log, part, off, reaction, source, key, version, event_id, CASE event_id WHEN '' THEN raw ELSE x'' END) WHERE off >= 0;
CREATE INDEX tidings_inbox_parked_due ON tidings_inbox_parked (grp, state, next, id);
CREATE INDEX tidings_inbox_parked_line ON tidings_inbox_parked (line, key, version, id);
CREATE INDEX tidings_inbox_parked_time ON tidings_inbox_parked (grp, time);

-- What a person has discarded, as it stood when it was parked, and why. time is that of the parking, discarded of the
-- discarding.
CREATE TABLE tidings_inbox_discarded (
    id        INTEGER NOT NULL PRIMARY KEY,
    grp       TEXT    NOT NULL,
    state     TEXT    NOT NULL,
    source    TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    have      INTEGER NOT NULL,
    type      TEXT    NOT NULL,
    event_id  TEXT    NOT NULL,
    reaction  INTEGER NOT NULL,
    attempts  INTEGER NOT NULL,
    error     TEXT    NOT NULL,
    why       TEXT    NOT NULL,
    time      INTEGER NOT NULL,
    discarded INTEGER NOT NULL,
    topic     TEXT    NOT NULL,
    log       TEXT    NOT NULL,
    part      INTEGER NOT NULL,
    off       INTEGER NOT NULL,
    raw       BLOB    NOT NULL
);

-- What kind of handler a group has, for tools: history is 1 where it needs every version.
CREATE TABLE tidings_inbox_group (
    grp     TEXT    NOT NULL PRIMARY KEY,
    history INTEGER NOT NULL
) WITHOUT ROWID;

-- How many new events were handled and how many of them failed, in a ring of slots of ten seconds each; since is when
-- the slot began. It is written while events fail.
CREATE TABLE tidings_inbox_pace (
    grp    TEXT    NOT NULL,
    slot   INTEGER NOT NULL,
    since  INTEGER NOT NULL,
    taken  INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    PRIMARY KEY (grp, slot)
) WITHOUT ROWID;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DROP TABLE tidings_inbox_pace;
DROP TABLE tidings_inbox_group;
DROP TABLE tidings_inbox_discarded;
DROP INDEX tidings_inbox_parked_time;
DROP INDEX tidings_inbox_parked_line;
DROP INDEX tidings_inbox_parked_due;
DROP INDEX tidings_inbox_parked_at;
CREATE UNIQUE INDEX tidings_inbox_parked_at ON tidings_inbox_parked (grp, topic, log, part, off, reaction) WHERE off >= 0;
ALTER TABLE tidings_inbox_parked DROP COLUMN upto;
ALTER TABLE tidings_inbox_parked DROP COLUMN line;
ALTER TABLE tidings_inbox_parked DROP COLUMN seq;
ALTER TABLE tidings_inbox_parked DROP COLUMN next;
-- +goose StatementEnd
