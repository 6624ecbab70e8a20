-- +goose Up
-- +goose StatementBegin

-- What events tell of people since 0.2.0. NULL: nothing was told of it so far, which is so for everybody who was stored
-- before these columns, until a rebuild or the next event that tells. Empty: they have none. A deleted person has NULL.
ALTER TABLE people ADD COLUMN display_name TEXT;
ALTER TABLE people ADD COLUMN locale       TEXT;
ALTER TABLE people ADD COLUMN phone        TEXT;
ALTER TABLE people ADD COLUMN given_name   TEXT;
ALTER TABLE people ADD COLUMN family_name  TEXT;
ALTER TABLE people ADD COLUMN name_order   INTEGER; -- users.events.v2.NameOrder, as it came: a number may be one that no release knows
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
ALTER TABLE people DROP COLUMN name_order;
ALTER TABLE people DROP COLUMN family_name;
ALTER TABLE people DROP COLUMN given_name;
ALTER TABLE people DROP COLUMN phone;
ALTER TABLE people DROP COLUMN locale;
ALTER TABLE people DROP COLUMN display_name;
-- +goose StatementEnd
