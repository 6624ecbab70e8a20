-- +goose Up
-- +goose StatementBegin

-- Everybody whom the directory knows of, as of the newest version that it has applied. Nothing here is unique but the
-- id: one user's freed address may come to be held by another before the event that frees it is here.
--
-- A deleted user leaves id and version, so that a reader who waits for a later version learns that it never comes;
-- email, name, terms and the times are empty then. Times are in nanoseconds since 1970, NULL where unset. Texts are
-- compared byte by byte, as SQLite does: a search by prefix is a range, and pages go in this order.
CREATE TABLE people (
    no          BIGINT  NOT NULL PRIMARY KEY, -- a number of the directory's own, which keeps terms small
    id          TEXT    COLLATE "C" NOT NULL UNIQUE,
    version     BIGINT  NOT NULL,
    deleted     BOOLEAN NOT NULL,
    email       TEXT    COLLATE "C" NOT NULL,
    name        TEXT    COLLATE "C" NOT NULL,
    create_time BIGINT,
    update_time BIGINT,
    terms       TEXT    COLLATE "C" NOT NULL -- this person's rows in terms, sorted, between newlines
);

-- Gives the numbers. Nobody waits for it, and what was rolled back leaves a gap.
CREATE SEQUENCE numbering;

-- What people are found by: the beginning of a term. See the package's documentation for why it comes in segments.
CREATE TABLE terms (
    segment BIGINT NOT NULL,
    term    TEXT   COLLATE "C" NOT NULL,
    person  BIGINT NOT NULL,
    PRIMARY KEY (segment, term, person)
);

-- The segments that there are, and how many people each holds; deleted ones are not counted. The newest is changed by
-- every batch with new people.
CREATE TABLE segments (
    segment BIGINT NOT NULL PRIMARY KEY,
    people  BIGINT NOT NULL
) WITH (fillfactor = 50);
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DROP TABLE segments;
DROP TABLE terms;
DROP SEQUENCE numbering;
DROP TABLE people;
-- +goose StatementEnd
