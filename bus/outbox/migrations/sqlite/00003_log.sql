-- +goose Up
-- +goose StatementBegin

-- How far each partition of each log was marked as sent (next: one past the highest offset), so that a log that lacks
-- some of it is found without going through all rows; how far it was found to go with what others write there (seen);
-- what was purged of it: how many events, up to where; and between which offsets nothing is to stay, for the log was
-- cut there, with the lowest position that may have to go (0: none).
CREATE TABLE tidings_outbox_log (
    topic       TEXT    NOT NULL,
    log         TEXT    NOT NULL,
    part        INTEGER NOT NULL,
    next        INTEGER NOT NULL,
    seen        INTEGER NOT NULL DEFAULT 0,
    purged      INTEGER NOT NULL DEFAULT 0,
    purged_next INTEGER NOT NULL DEFAULT 0,
    refill_from INTEGER NOT NULL DEFAULT 0,
    refill_to   INTEGER NOT NULL DEFAULT 0,
    refill_low  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, log, part)
);
INSERT INTO tidings_outbox_log (topic, log, part, next)
    SELECT o.topic, s.log, s.part, max(s.off) + 1 FROM tidings_outbox_sent s JOIN tidings_outbox o ON o.position = s.position
    WHERE s.off >= 0 GROUP BY o.topic, s.log, s.part;

-- How many purged events a log was found to lack, and when that was found last.
ALTER TABLE tidings_outbox_relay ADD COLUMN lacking INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tidings_outbox_relay ADD COLUMN lacked INTEGER NOT NULL DEFAULT 0;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
ALTER TABLE tidings_outbox_relay DROP COLUMN lacked;
ALTER TABLE tidings_outbox_relay DROP COLUMN lacking;
DROP TABLE tidings_outbox_log;
-- +goose StatementEnd
