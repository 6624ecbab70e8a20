-- +goose Up
-- +goose StatementBegin

-- Every user that ever was. A deleted one leaves a tombstone for ever: id, version and times, and nothing that says
-- who it was. Times are microseconds since 1970, UTC. Texts are compared byte by byte, as SQLite does.
CREATE TABLE users (
    id          TEXT   COLLATE "C" NOT NULL PRIMARY KEY, -- a UUIDv7, so that new rows go to the end
    email       TEXT   COLLATE "C",
    email_fold  TEXT   COLLATE "C", -- what addresses are compared by; see Fold
    name        TEXT   COLLATE "C",
    version     BIGINT NOT NULL CHECK (version > 0),
    create_time BIGINT NOT NULL,
    update_time BIGINT NOT NULL,
    delete_time BIGINT,
    CHECK (CASE WHEN delete_time IS NULL
        THEN email IS NOT NULL AND email_fold IS NOT NULL AND name IS NOT NULL
        ELSE email IS NULL AND email_fold IS NULL AND name IS NULL
    END)
);

CREATE UNIQUE INDEX users_email_fold ON users (email_fold) WHERE email_fold IS NOT NULL;

-- The totals over users, always current, so that nobody has to count a million rows. Writers run side by side here, and
-- one row would be one that all wait for: so there are some, each connection adds to its own, and the view adds them
-- up. A row of them may be below 0. The room that is left free in each page keeps the changes on it.
CREATE TABLE users_totals_parts (
    part     INTEGER NOT NULL PRIMARY KEY,
    live     BIGINT  NOT NULL,
    deleted  BIGINT  NOT NULL,
    versions BIGINT  NOT NULL -- the sum, over the deleted too
) WITH (fillfactor = 20);

CREATE VIEW users_totals AS
    SELECT CAST(COALESCE(SUM(live), 0) AS BIGINT) AS live, CAST(COALESCE(SUM(deleted), 0) AS BIGINT) AS deleted,
        CAST(COALESCE(SUM(versions), 0) AS BIGINT) AS versions
    FROM users_totals_parts;

CREATE FUNCTION users_count() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    more_live     BIGINT := 0;
    more_deleted  BIGINT := 0;
    more_versions BIGINT := 0;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        more_live := more_live - (OLD.delete_time IS NULL)::INTEGER;
        more_deleted := more_deleted - (OLD.delete_time IS NOT NULL)::INTEGER;
        more_versions := more_versions - OLD.version;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        more_live := more_live + (NEW.delete_time IS NULL)::INTEGER;
        more_deleted := more_deleted + (NEW.delete_time IS NOT NULL)::INTEGER;
        more_versions := more_versions + NEW.version;
    END IF;
    INSERT INTO users_totals_parts AS t (part, live, deleted, versions)
        VALUES (pg_backend_pid() % 32, more_live, more_deleted, more_versions)
        ON CONFLICT (part) DO UPDATE SET live = t.live + excluded.live, deleted = t.deleted + excluded.deleted,
            versions = t.versions + excluded.versions;
    RETURN NULL;
END
$$;

-- The service deletes no row; a person might.
CREATE TRIGGER users_count AFTER INSERT OR UPDATE OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION users_count();
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DROP TABLE users;
DROP FUNCTION users_count;
DROP VIEW users_totals;
DROP TABLE users_totals_parts;
-- +goose StatementEnd
