-- In the order in which they are spent: a table kept in the order of digests has a page
-- changed for each. That an id is spent once the store tells from its memory of them.

-- +goose Up
CREATE TABLE spent_ids_in_order (
    digest     TEXT   NOT NULL,
    expires_at BIGINT NOT NULL
);

INSERT INTO spent_ids_in_order (digest, expires_at) SELECT digest, expires_at FROM spent_ids ORDER BY expires_at;
DROP TABLE spent_ids;
ALTER TABLE spent_ids_in_order RENAME TO spent_ids;
CREATE INDEX spent_ids_expires_at ON spent_ids (expires_at);

-- +goose Down
CREATE TABLE spent_ids_by_digest (
    digest     TEXT   NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
) WITHOUT ROWID;

INSERT INTO spent_ids_by_digest (digest, expires_at) SELECT digest, max(expires_at) FROM spent_ids GROUP BY digest;
DROP TABLE spent_ids;
ALTER TABLE spent_ids_by_digest RENAME TO spent_ids;
CREATE INDEX spent_ids_expires_at ON spent_ids (expires_at);
