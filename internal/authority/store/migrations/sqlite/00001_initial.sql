-- Times are milliseconds since 1970 UTC; 0 means "none". Lists are JSON arrays.

-- +goose Up
CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE tickets (
    id              TEXT   NOT NULL PRIMARY KEY,
    secret_sha256   TEXT   NOT NULL UNIQUE,
    description     TEXT   NOT NULL,
    role            TEXT   NOT NULL CHECK (role IN ('workload', 'orchestrator', 'agent')),
    status          TEXT   NOT NULL CHECK (status IN ('active', 'deactivated')),
    tags            TEXT   NOT NULL,
    audiences       TEXT   NOT NULL,
    expires_at      BIGINT NOT NULL,
    max_uses        BIGINT NOT NULL CHECK (max_uses >= 0),
    uses            BIGINT NOT NULL CHECK (uses >= 0 AND (max_uses = 0 OR uses <= max_uses)),
    workload_ttl_ms BIGINT NOT NULL CHECK (workload_ttl_ms >= 0),
    version         BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);

CREATE TABLE workloads (
    id              TEXT   NOT NULL PRIMARY KEY,
    ticket_id       TEXT   NOT NULL REFERENCES tickets (id),
    thumbprint      TEXT   NOT NULL,
    jwk             TEXT   NOT NULL,
    claimed         TEXT   NOT NULL,
    created_at      BIGINT NOT NULL,
    last_contact_at BIGINT NOT NULL,
    UNIQUE (ticket_id, thumbprint)
);

CREATE TABLE signing_keys (
    kid        TEXT   NOT NULL PRIMARY KEY,
    purpose    TEXT   NOT NULL CHECK (purpose IN ('id_token')),
    algorithm  TEXT   NOT NULL,
    state      TEXT   NOT NULL CHECK (state IN ('next', 'active', 'retired', 'revoked')),
    public_jwk TEXT   NOT NULL,
    sealed     TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE UNIQUE INDEX signing_keys_one_active ON signing_keys (purpose) WHERE state = 'active';

CREATE TABLE admin_tokens (
    id            TEXT   NOT NULL PRIMARY KEY,
    secret_sha256 TEXT   NOT NULL UNIQUE,
    role          TEXT   NOT NULL,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL
);

CREATE TABLE spent_ids (
    digest     TEXT   NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
) WITHOUT ROWID;

CREATE INDEX spent_ids_expires_at ON spent_ids (expires_at);

CREATE TABLE events (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    at          BIGINT  NOT NULL,
    kind        TEXT    NOT NULL,
    allowed     BOOLEAN NOT NULL,
    reason      TEXT    NOT NULL,
    source      TEXT    NOT NULL,
    admin_id    TEXT    NOT NULL,
    ticket_id   TEXT    NOT NULL,
    workload_id TEXT    NOT NULL,
    token_id    TEXT    NOT NULL,
    audiences   TEXT    NOT NULL,
    count       BIGINT  NOT NULL
);

-- +goose Down
DROP TABLE events;
DROP TABLE spent_ids;
DROP TABLE admin_tokens;
DROP TABLE signing_keys;
DROP TABLE workloads;
DROP TABLE tickets;
DROP TABLE settings;
