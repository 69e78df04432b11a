-- +goose Up
ALTER TABLE tickets ADD COLUMN closed BOOLEAN NOT NULL DEFAULT FALSE; -- to new enrolments
ALTER TABLE tickets ADD COLUMN closed_because TEXT NOT NULL DEFAULT ''; -- '' where an administrator closed it

-- +goose Down
ALTER TABLE tickets DROP COLUMN closed_because;
ALTER TABLE tickets DROP COLUMN closed;
