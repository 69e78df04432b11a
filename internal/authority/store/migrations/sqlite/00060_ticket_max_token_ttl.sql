-- +goose Up
ALTER TABLE tickets ADD COLUMN max_token_ttl_ms BIGINT NOT NULL DEFAULT 0; -- of ID tokens; 0: the authority's

-- +goose Down
ALTER TABLE tickets DROP COLUMN max_token_ttl_ms;
