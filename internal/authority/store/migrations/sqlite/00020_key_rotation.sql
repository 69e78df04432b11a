-- +goose Up
ALTER TABLE signing_keys ADD COLUMN activated_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE signing_keys ADD COLUMN retired_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE signing_keys ADD COLUMN revoked_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE signing_keys ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
UPDATE signing_keys SET activated_at = created_at WHERE state = 'active';
CREATE UNIQUE INDEX signing_keys_one_next ON signing_keys (purpose) WHERE state = 'next';

-- +goose Down
DROP INDEX signing_keys_one_next;
ALTER TABLE signing_keys DROP COLUMN version;
ALTER TABLE signing_keys DROP COLUMN revoked_at;
ALTER TABLE signing_keys DROP COLUMN retired_at;
ALTER TABLE signing_keys DROP COLUMN activated_at;
