-- +goose Up
-- +goose StatementBegin

-- Every event that came, for ever. What is about one user stands together, in order of version: that is how it is
-- read. An event without a version (0), and one whose version somebody gave out twice, keeps its own row by its id.
CREATE TABLE events (
    user_id    TEXT    NOT NULL, -- the event's key
    version    INTEGER NOT NULL,
    source     TEXT    NOT NULL,
    event_id   TEXT    NOT NULL,
    type       TEXT    NOT NULL,
    time       INTEGER,          -- nanoseconds since 1970; NULL where the event has none
    data_type  TEXT    NOT NULL, -- media type of data; empty is application/protobuf
    data       BLOB    NOT NULL, -- as it came
    extensions TEXT,             -- other CloudEvents attributes as a JSON object; NULL where there are none
    PRIMARY KEY (user_id, version, source, event_id)
) WITHOUT ROWID;

-- How many events there are, always current, so that nobody has to count a million rows. One row.
CREATE TABLE totals (
    events INTEGER NOT NULL
);
INSERT INTO totals (events) VALUES (0);
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DROP TABLE totals;
DROP TABLE events;
-- +goose StatementEnd
