-- +goose Up
-- +goose StatementBegin

-- How far a numbering was followed, on a bus without a log. first is the first number that is counted, highest the
-- highest that was heard of. whole is 1 where it is the first numbering of its source, as the owner says, and the group has
-- followed it from its start, so that the first version of every key is 1. folded is how many missing numbers below it are kept as a count only, ranges how many rows
-- the others take. rev changes with every change.
CREATE TABLE tidings_inbox_stream (
    id      INTEGER NOT NULL PRIMARY KEY,
    grp     TEXT    NOT NULL,
    topic   TEXT    NOT NULL,
    source  TEXT    NOT NULL,
    log     TEXT    NOT NULL,
    first   INTEGER NOT NULL,
    highest INTEGER NOT NULL,
    whole   INTEGER NOT NULL,
    folded  INTEGER NOT NULL,
    ranges  INTEGER NOT NULL,
    rev     INTEGER NOT NULL,
    UNIQUE (grp, topic, source, log)
);

-- Numbers of a stream that were given out and have not come: from first to last, both included.
CREATE TABLE tidings_inbox_missed (
    stream INTEGER NOT NULL,
    first  INTEGER NOT NULL,
    last   INTEGER NOT NULL,
    PRIMARY KEY (stream, first)
) WITHOUT ROWID;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DROP TABLE tidings_inbox_missed;
DROP TABLE tidings_inbox_stream;
-- +goose StatementEnd
