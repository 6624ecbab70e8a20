-- +goose Up
-- +goose StatementBegin

-- Everybody whom the directory knows of, as of the newest version that it has applied. Nothing here is unique but the
-- id: one user's freed address may come to be held by another before the event that frees it is here.
--
-- A deleted user leaves id and version, so that a reader who waits for a later version learns that it never comes;
-- email, name, terms and the times are empty then. Times are in nanoseconds since 1970, NULL where unset.
CREATE TABLE people (
    no          INTEGER NOT NULL PRIMARY KEY, -- a number of the directory's own, which keeps terms small
    id          TEXT    NOT NULL UNIQUE,
    version     INTEGER NOT NULL,
    deleted     INTEGER NOT NULL,
    email       TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    create_time INTEGER,
    update_time INTEGER,
    terms       TEXT    NOT NULL -- this person's rows in terms, sorted, between newlines: what a change has to remove
);

-- The last number that was given out. One row.
CREATE TABLE numbering (
    last INTEGER NOT NULL
);
INSERT INTO numbering (last) VALUES (0);

-- What people are found by: the beginning of a term. See the package's documentation for why it comes in segments.
CREATE TABLE terms (
    segment INTEGER NOT NULL,
    term    TEXT    NOT NULL,
    person  INTEGER NOT NULL,
    PRIMARY KEY (segment, term, person)
) WITHOUT ROWID;

-- The segments that there are, and how many people each holds; deleted ones are not counted.
CREATE TABLE segments (
    segment INTEGER NOT NULL PRIMARY KEY,
    people  INTEGER NOT NULL
);
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DROP TABLE segments;
DROP TABLE terms;
DROP TABLE numbering;
DROP TABLE people;
-- +goose StatementEnd
