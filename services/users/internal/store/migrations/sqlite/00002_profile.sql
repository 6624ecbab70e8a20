-- +goose Up
-- +goose StatementBegin

-- What else a user says of itself. Empty is what nobody has said; and a tombstone, which says nothing of who it was. The
-- rows that were there have said nothing yet.
ALTER TABLE users ADD COLUMN display_name TEXT NOT NULL DEFAULT '' CHECK (delete_time IS NULL OR display_name = '');
ALTER TABLE users ADD COLUMN locale TEXT NOT NULL DEFAULT '' CHECK (delete_time IS NULL OR locale = '');
ALTER TABLE users ADD COLUMN phone TEXT NOT NULL DEFAULT '' CHECK (delete_time IS NULL OR phone = '');

-- The parts of the name and their order (the number of users.v1.NameOrder), where the user gave the name in parts; else
-- all three are NULL, and a reader splits the name. The name is always there too: it is what older programs read.
ALTER TABLE users ADD COLUMN given_name TEXT;
ALTER TABLE users ADD COLUMN family_name TEXT;
ALTER TABLE users ADD COLUMN name_order INTEGER CHECK (CASE WHEN name_order IS NULL
    THEN given_name IS NULL AND family_name IS NULL
    ELSE given_name IS NOT NULL AND family_name IS NOT NULL AND given_name || family_name <> '' AND delete_time IS NULL
END);
-- +goose StatementEnd
