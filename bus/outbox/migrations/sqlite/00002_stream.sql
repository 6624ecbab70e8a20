-- +goose Up
-- +goose StatementBegin

-- Numbers on a bus without a log, where a subscriber learns from them what it has missed. One row for each
-- stream, which is what a source publishes on a topic: the id of its numbering, and the highest number given out.
CREATE TABLE tidings_outbox_stream (
    topic  TEXT    NOT NULL,
    source TEXT    NOT NULL,
    log    TEXT    NOT NULL,
    seq    INTEGER NOT NULL,
    PRIMARY KEY (topic, source)
);

-- The number of an event within its stream, stored before it is published for the first time, and kept.
CREATE TABLE tidings_outbox_seq (
    position INTEGER NOT NULL PRIMARY KEY,
    seq      INTEGER NOT NULL
);

-- How many subscribers heard an event (-1: unknown, for the bus has a log), and how many events none has heard.
ALTER TABLE tidings_outbox_sent ADD COLUMN heard INTEGER NOT NULL DEFAULT -1;
ALTER TABLE tidings_outbox_relay ADD COLUMN unheard INTEGER NOT NULL DEFAULT 0;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
ALTER TABLE tidings_outbox_relay DROP COLUMN unheard;
ALTER TABLE tidings_outbox_sent DROP COLUMN heard;
DROP TABLE tidings_outbox_seq;
DROP TABLE tidings_outbox_stream;
-- +goose StatementEnd
