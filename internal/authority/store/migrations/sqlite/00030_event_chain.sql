-- +goose Up
ALTER TABLE events ADD COLUMN hash TEXT NOT NULL DEFAULT '';

-- Where the chain of events begins: the last event that retention removed.
CREATE TABLE event_anchor (
    id   INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    seq  BIGINT  NOT NULL,
    hash TEXT    NOT NULL
);

INSERT INTO event_anchor (id, seq, hash) VALUES (1, 0, '');

-- +goose Down
DROP TABLE event_anchor;
ALTER TABLE events DROP COLUMN hash;
