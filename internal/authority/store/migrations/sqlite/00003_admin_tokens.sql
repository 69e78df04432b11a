-- +goose Up
ALTER TABLE admin_tokens ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE admin_tokens ADD COLUMN version BIGINT NOT NULL DEFAULT 1;

-- +goose Down
ALTER TABLE admin_tokens DROP COLUMN version;
ALTER TABLE admin_tokens DROP COLUMN description;
