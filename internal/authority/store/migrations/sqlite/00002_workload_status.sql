-- +goose Up
ALTER TABLE workloads ADD COLUMN status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'deactivated'));
ALTER TABLE workloads ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE events ADD COLUMN resource TEXT NOT NULL DEFAULT ''; -- kind/name, of kinds without a column of their own

-- +goose Down
ALTER TABLE events DROP COLUMN resource;
ALTER TABLE workloads DROP COLUMN version;
ALTER TABLE workloads DROP COLUMN status;
