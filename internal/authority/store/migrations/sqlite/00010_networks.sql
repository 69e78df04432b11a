-- A ticket names its lists in its own row, in its order; ticket_networks holds the
-- same, so that the database itself refuses to remove a list that is named.

-- +goose Up
CREATE TABLE network_lists (
    name        TEXT   NOT NULL PRIMARY KEY,
    description TEXT   NOT NULL,
    cidrs       TEXT   NOT NULL,
    version     BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);

INSERT INTO network_lists (name, description, cidrs, version, created_at, updated_at)
VALUES ('public-access', 'every address', '["0.0.0.0/0","::/0"]', 1,
    CAST(strftime('%s', 'now') AS BIGINT) * 1000, CAST(strftime('%s', 'now') AS BIGINT) * 1000);

ALTER TABLE tickets ADD COLUMN networks TEXT NOT NULL DEFAULT '[]';

CREATE TABLE ticket_networks (
    ticket_id    TEXT NOT NULL REFERENCES tickets (id) ON DELETE CASCADE,
    network_list TEXT NOT NULL REFERENCES network_lists (name),
    PRIMARY KEY (ticket_id, network_list)
);

CREATE INDEX ticket_networks_network_list ON ticket_networks (network_list);

-- +goose Down
DROP TABLE ticket_networks;
ALTER TABLE tickets DROP COLUMN networks;
DROP TABLE network_lists;
