-- factory_networks holds what the template names, as ticket_networks does of a ticket.

-- +goose Up
CREATE TABLE ticket_factories (
    name          TEXT   NOT NULL PRIMARY KEY,
    description   TEXT   NOT NULL,
    status        TEXT   NOT NULL CHECK (status IN ('active', 'deactivated')),
    orchestrators TEXT   NOT NULL,
    template      TEXT   NOT NULL,
    minted        BIGINT NOT NULL,
    version       BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);

CREATE TABLE factory_networks (
    factory      TEXT NOT NULL REFERENCES ticket_factories (name) ON DELETE CASCADE,
    network_list TEXT NOT NULL REFERENCES network_lists (name),
    PRIMARY KEY (factory, network_list)
);

CREATE INDEX factory_networks_network_list ON factory_networks (network_list);

ALTER TABLE tickets ADD COLUMN factory TEXT NOT NULL DEFAULT ''; -- that minted it

CREATE INDEX tickets_factory ON tickets (factory, uses);

-- +goose Down
DROP INDEX tickets_factory;
ALTER TABLE tickets DROP COLUMN factory;
DROP TABLE factory_networks;
DROP TABLE ticket_factories;
