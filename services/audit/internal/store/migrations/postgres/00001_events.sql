-- +goose Up
-- +goose StatementBegin

-- Every event that came, for ever, by user and version: that is how it is read. An event without a version (0), and one
-- whose version somebody gave out twice, keeps its own row by its id. Texts are compared byte by byte, as SQLite does.
CREATE TABLE events (
    user_id    TEXT   COLLATE "C" NOT NULL, -- the event's key
    version    BIGINT NOT NULL,
    source     TEXT   COLLATE "C" NOT NULL,
    event_id   TEXT   COLLATE "C" NOT NULL,
    type       TEXT   COLLATE "C" NOT NULL,
    time       BIGINT,          -- nanoseconds since 1970; NULL where the event has none
    data_type  TEXT   NOT NULL, -- media type of data; empty is application/protobuf
    data       BYTEA  NOT NULL, -- as it came
    extensions TEXT,            -- other CloudEvents attributes as a JSON object; NULL where there are none
    PRIMARY KEY (user_id, version, source, event_id)
);

-- How many events there are, always current, so that nobody has to count a million rows. Replicas append side by side,
-- and one row would be one that all wait for: so there are some, and each connection adds to its own.
CREATE TABLE totals_parts (
    part   INTEGER NOT NULL PRIMARY KEY,
    events BIGINT  NOT NULL
) WITH (fillfactor = 20);

CREATE VIEW totals AS SELECT CAST(COALESCE(SUM(events), 0) AS BIGINT) AS events FROM totals_parts;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DROP VIEW totals;
DROP TABLE totals_parts;
DROP TABLE events;
-- +goose StatementEnd
