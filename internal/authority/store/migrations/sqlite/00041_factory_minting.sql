-- +goose Up
ALTER TABLE ticket_factories ADD COLUMN closed BOOLEAN NOT NULL DEFAULT FALSE; -- mints no tickets
ALTER TABLE ticket_factories ADD COLUMN closed_because TEXT NOT NULL DEFAULT ''; -- '' where an administrator closed it

-- +goose Down
ALTER TABLE ticket_factories DROP COLUMN closed_because;
ALTER TABLE ticket_factories DROP COLUMN closed;
