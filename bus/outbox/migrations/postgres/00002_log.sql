-- +goose Up
-- +goose StatementBegin

-- The tables of SQLite's migration 3, which tells what they are for.
CREATE TABLE tidings_outbox_log (
    topic       TEXT COLLATE "C" NOT NULL,
    log         TEXT COLLATE "C" NOT NULL,
    part        INTEGER          NOT NULL,
    next        BIGINT           NOT NULL,
    seen        BIGINT           NOT NULL DEFAULT 0,
    purged      BIGINT           NOT NULL DEFAULT 0,
    purged_next BIGINT           NOT NULL DEFAULT 0,
    refill_from BIGINT           NOT NULL DEFAULT 0,
    refill_to   BIGINT           NOT NULL DEFAULT 0,
    refill_low  BIGINT           NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, log, part)
) WITH (fillfactor = 10);
INSERT INTO tidings_outbox_log (topic, log, part, next)
    SELECT o.topic, s.log, s.part, max(s.off) + 1 FROM tidings_outbox_sent s JOIN tidings_outbox o ON o.position = s.position
    WHERE s.off >= 0 GROUP BY o.topic, s.log, s.part;

ALTER TABLE tidings_outbox_relay ADD COLUMN lacking BIGINT NOT NULL DEFAULT 0, ADD COLUMN lacked BIGINT NOT NULL DEFAULT 0;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
ALTER TABLE tidings_outbox_relay DROP COLUMN lacked, DROP COLUMN lacking;
DROP TABLE tidings_outbox_log;
-- +goose StatementEnd
