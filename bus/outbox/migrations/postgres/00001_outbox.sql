-- +goose Up
-- +goose StatementBegin

-- The tables of SQLite's migrations 1 and 2, which tell what they are for.

-- A position is given out when its row is written, and rows are committed in another order. What the relay makes of
-- that (see pass.go) stands on positions being given out one at a time, upwards: never let the column's sequence CACHE.
CREATE TABLE tidings_outbox (
    position BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created  BIGINT           NOT NULL,
    topic    TEXT COLLATE "C" NOT NULL,
    source   TEXT COLLATE "C" NOT NULL,
    key      TEXT COLLATE "C" NOT NULL,
    version  BIGINT           NOT NULL,
    id       TEXT COLLATE "C" NOT NULL,
    envelope BYTEA            NOT NULL
);

-- Rows come and go: it is looked through often for dead ones, or its lowest position would be found ever more slowly.
CREATE TABLE tidings_outbox_unsent (
    position BIGINT NOT NULL PRIMARY KEY
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);

-- Once a statement, for the rows of all.
CREATE FUNCTION tidings_outbox_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tidings_outbox_unsent (position) SELECT position FROM added ORDER BY position;
    RETURN NULL;
END;
$$;
CREATE TRIGGER tidings_outbox_added AFTER INSERT ON tidings_outbox
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION tidings_outbox_added();

CREATE TABLE tidings_outbox_sent (
    position BIGINT           NOT NULL PRIMARY KEY,
    sent     BIGINT           NOT NULL,
    log      TEXT COLLATE "C" NOT NULL,
    part     INTEGER          NOT NULL,
    off      BIGINT           NOT NULL,
    heard    INTEGER          NOT NULL DEFAULT -1
);

CREATE TABLE tidings_outbox_failed (
    position BIGINT NOT NULL PRIMARY KEY,
    failed   BIGINT NOT NULL,
    error    TEXT   NOT NULL
);

CREATE TABLE tidings_outbox_relay (
    id      INTEGER          NOT NULL PRIMARY KEY CHECK (id = 1),
    holder  TEXT COLLATE "C" NOT NULL,
    until   BIGINT           NOT NULL,
    sent    BIGINT           NOT NULL,
    last    BIGINT           NOT NULL,
    unheard BIGINT           NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
INSERT INTO tidings_outbox_relay (id, holder, until, sent, last) VALUES (1, '', 0, 0, 0);

CREATE TABLE tidings_outbox_stream (
    topic  TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    log    TEXT COLLATE "C" NOT NULL,
    seq    BIGINT           NOT NULL,
    PRIMARY KEY (topic, source)
) WITH (fillfactor = 50);

CREATE TABLE tidings_outbox_seq (
    position BIGINT NOT NULL PRIMARY KEY,
    seq      BIGINT NOT NULL
);
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DROP TABLE tidings_outbox_seq;
DROP TABLE tidings_outbox_stream;
DROP TABLE tidings_outbox_relay;
DROP TABLE tidings_outbox_failed;
DROP TABLE tidings_outbox_sent;
DROP TABLE tidings_outbox_unsent;
DROP TABLE tidings_outbox;
DROP FUNCTION tidings_outbox_added();
-- +goose StatementEnd
