-- +goose Up
-- +goose StatementBegin

-- Every mail that was queued or skipped, one an event at most. Times are in milliseconds since 1970; 0 where unset.
CREATE TABLE messages (
    seq         INTEGER NOT NULL PRIMARY KEY, -- the order of queueing; rows are never removed, so the highest counts them
    event_id    TEXT    NOT NULL UNIQUE,
    user_id     TEXT    NOT NULL,
    recipient   TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    state       TEXT    NOT NULL, -- as the inbox calls it
    attempts    INTEGER NOT NULL,
    last_error  TEXT    NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    next_time   INTEGER NOT NULL
);

CREATE INDEX messages_user ON messages (user_id, seq);
CREATE INDEX messages_state ON messages (state, seq);
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DROP TABLE messages;
-- +goose StatementEnd
