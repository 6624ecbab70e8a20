-- +goose Up
-- +goose StatementBegin

-- How many messages there are. Their numbers have no gaps here, where one is queued after another, and rows are never
-- removed: so the highest counts them.
CREATE VIEW totals AS SELECT COALESCE(MAX(seq), 0) AS messages FROM messages;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DROP VIEW totals;
-- +goose StatementEnd
