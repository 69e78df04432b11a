-- +goose Up
CREATE TABLE secrets (
    id          TEXT   NOT NULL PRIMARY KEY,
    description TEXT   NOT NULL,
    sealed      TEXT   NOT NULL CHECK (sealed <> ''),
    tags        TEXT   NOT NULL,
    expires_at  BIGINT NOT NULL,
    version     BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);

-- +goose Down
DROP TABLE secrets;
