-- +goose Up

-- What else a user says of itself. Empty is what nobody has said; and a tombstone, which says nothing of who it was. The
-- rows that were there have said nothing yet.
--
-- The parts of the name and their order (the number of users.v1.NameOrder) are there where the user gave the name in
-- parts; else all three are NULL, and a reader splits the name. The name is always there too: it is what older programs
-- read.
ALTER TABLE users
    ADD COLUMN display_name TEXT COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN locale       TEXT COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN phone        TEXT COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN given_name   TEXT COLLATE "C",
    ADD COLUMN family_name  TEXT COLLATE "C",
    ADD COLUMN name_order   INTEGER,
    ADD CONSTRAINT users_tombstone CHECK (delete_time IS NULL OR display_name || locale || phone = ''),
    ADD CONSTRAINT users_name_parts CHECK (CASE WHEN name_order IS NULL
        THEN given_name IS NULL AND family_name IS NULL
        ELSE given_name IS NOT NULL AND family_name IS NOT NULL AND given_name || family_name <> '' AND delete_time IS NULL
    END);

-- A replica of before this migration may go on beside one that has made it, and knows nothing of these columns. It is to
-- be able to delete users, and their tombstones are to be as empty as any.
-- +goose StatementBegin
CREATE FUNCTION users_forget() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    NEW.display_name := '';
    NEW.locale := '';
    NEW.phone := '';
    NEW.given_name := NULL;
    NEW.family_name := NULL;
    NEW.name_order := NULL;
    RETURN NEW;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER users_forget BEFORE UPDATE ON users FOR EACH ROW WHEN (NEW.delete_time IS NOT NULL) EXECUTE FUNCTION users_forget();

-- +goose Down
DROP TRIGGER users_forget ON users;
DROP FUNCTION users_forget;
ALTER TABLE users DROP COLUMN display_name, DROP COLUMN locale, DROP COLUMN phone,
    DROP COLUMN given_name, DROP COLUMN family_name, DROP COLUMN name_order;
