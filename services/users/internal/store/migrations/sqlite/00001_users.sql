-- +goose Up
-- +goose StatementBegin

-- Every user that ever was. A deleted one leaves a tombstone for ever: id, version and times, and nothing that says
-- who it was. Times are microseconds since 1970, UTC.
CREATE TABLE users (
    id          TEXT    NOT NULL PRIMARY KEY, -- a UUIDv7, so that new rows go to the end
    email       TEXT,
    email_fold  TEXT, -- what addresses are compared by; see Fold
    name        TEXT,
    version     INTEGER NOT NULL CHECK (version > 0),
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    delete_time INTEGER,
    CHECK (CASE WHEN delete_time IS NULL
        THEN email IS NOT NULL AND email_fold IS NOT NULL AND name IS NOT NULL
        ELSE email IS NULL AND email_fold IS NULL AND name IS NULL
    END)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX users_email_fold ON users (email_fold) WHERE email_fold IS NOT NULL;

-- The totals over users, always current, so that nobody has to count a million rows. Where writers run side by side
-- (another database than SQLite) this would be one row that all wait for: a view may stand in its place there.
CREATE TABLE users_totals (
    live     INTEGER NOT NULL,
    deleted  INTEGER NOT NULL,
    versions INTEGER NOT NULL -- the sum, over the deleted too
) STRICT;
INSERT INTO users_totals (live, deleted, versions) VALUES (0, 0, 0);

CREATE TRIGGER users_insert AFTER INSERT ON users BEGIN
    UPDATE users_totals SET
        live = live + (NEW.delete_time IS NULL),
        deleted = deleted + (NEW.delete_time IS NOT NULL),
        versions = versions + NEW.version;
END;

CREATE TRIGGER users_update AFTER UPDATE ON users BEGIN
    UPDATE users_totals SET
        live = live - (OLD.delete_time IS NULL) + (NEW.delete_time IS NULL),
        deleted = deleted - (OLD.delete_time IS NOT NULL) + (NEW.delete_time IS NOT NULL),
        versions = versions - OLD.version + NEW.version;
END;

-- The service deletes no row; a person might.
CREATE TRIGGER users_delete AFTER DELETE ON users BEGIN
    UPDATE users_totals SET
        live = live - (OLD.delete_time IS NULL),
        deleted = deleted - (OLD.delete_time IS NOT NULL),
        versions = versions - OLD.version;
END;
-- +goose StatementEnd
