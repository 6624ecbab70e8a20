-- +goose Up
-- +goose StatementBegin

-- Events in the order in which they were committed. Rows are written once and never changed: what happens to them is
-- told by the tables below, which are a tenth of the size. Times are microseconds since 1970. AUTOINCREMENT, so that
-- a position is not given out again after its row was purged.
CREATE TABLE tidings_outbox (
    position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    created  INTEGER NOT NULL,
    topic    TEXT    NOT NULL,
    source   TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    id       TEXT    NOT NULL,
    envelope BLOB    NOT NULL
);

-- What is still to be sent.
CREATE TABLE tidings_outbox_unsent (
    position INTEGER NOT NULL PRIMARY KEY
);

CREATE TRIGGER tidings_outbox_added AFTER INSERT ON tidings_outbox BEGIN
    INSERT INTO tidings_outbox_unsent (position) VALUES (new.position);
END;

-- What was acknowledged, when, and where it stands in the log (off is -1 on a bus without one).
CREATE TABLE tidings_outbox_sent (
    position INTEGER NOT NULL PRIMARY KEY,
    sent     INTEGER NOT NULL,
    log      TEXT    NOT NULL,
    part     INTEGER NOT NULL,
    off      INTEGER NOT NULL
);

-- What can't be sent, ever, and why.
CREATE TABLE tidings_outbox_failed (
    position INTEGER NOT NULL PRIMARY KEY,
    failed   INTEGER NOT NULL,
    error    TEXT    NOT NULL
);

-- One row: who relays and until when, unless it is renewed; how many events were ever sent, and when the last one.
CREATE TABLE tidings_outbox_relay (
    id     INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    holder TEXT    NOT NULL,
    until  INTEGER NOT NULL,
    sent   INTEGER NOT NULL,
    last   INTEGER NOT NULL
);
INSERT INTO tidings_outbox_relay (id, holder, until, sent, last) VALUES (1, '', 0, 0, 0);
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DROP TABLE tidings_outbox_relay;
DROP TABLE tidings_outbox_failed;
DROP TABLE tidings_outbox_sent;
DROP TABLE tidings_outbox_unsent;
DROP TABLE tidings_outbox;
-- +goose StatementEnd
