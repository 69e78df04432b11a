-- Events are of classes: the hash of each follows that of the one before it in its class, so
-- that the oldest of one class can go while those of another stay. What there was before is
-- the class '', a chain of its own, which the others follow.

-- +goose Up
ALTER TABLE events ADD COLUMN class TEXT NOT NULL DEFAULT '';
CREATE INDEX events_class ON events (class, seq);

CREATE TABLE event_chains (
    class     TEXT   NOT NULL PRIMARY KEY,
    seq       BIGINT NOT NULL, -- the event that retention removed last, and its hash:
    hash      TEXT   NOT NULL, -- what the oldest event of the class follows
    head_seq  BIGINT NOT NULL, -- the newest event when retention removed something last:
    head_hash TEXT   NOT NULL, -- it is still there, or was removed by retention
    dropped   BIGINT NOT NULL DEFAULT 0 -- removed for their number, and not told of yet
);

INSERT INTO event_chains (class, seq, hash, head_seq, head_hash)
SELECT '', a.seq, a.hash, coalesce((SELECT max(seq) FROM events), a.seq), coalesce((SELECT hash FROM events ORDER BY seq DESC LIMIT 1), a.hash)
FROM event_anchor AS a;

INSERT INTO event_chains (class, seq, hash, head_seq, head_hash)
SELECT c.column1, o.head_seq, o.head_hash, o.head_seq, o.head_hash
FROM (VALUES ('administration'), ('enrolment'), ('traffic'), ('unauthenticated')) AS c, event_chains AS o WHERE o.class = '';

DROP TRIGGER event_anchor_stays;
DROP TRIGGER event_anchor_moves_on;
DROP TRIGGER events_delete_before_anchor;
DROP TRIGGER events_insert_at_end;
DROP TABLE event_anchor;

-- +goose StatementBegin
CREATE TRIGGER events_insert_at_end BEFORE INSERT ON events
WHEN length(NEW.hash) <> 64
    OR NEW.class NOT IN (SELECT class FROM event_chains WHERE class <> '')
    OR NEW.seq IS NOT 1 + max(coalesce((SELECT max(seq) FROM events), 0), (SELECT max(seq) FROM event_chains))
BEGIN
    SELECT RAISE(ABORT, 'activity is append-only: an event goes to the end of the chain of its class');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER events_delete_before_anchor BEFORE DELETE ON events
WHEN OLD.seq > (SELECT seq FROM event_chains WHERE class = OLD.class)
BEGIN
    SELECT RAISE(ABORT, 'activity is append-only: only retention deletes, oldest of a class first');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER event_chain_moves_on BEFORE UPDATE OF class, seq, hash ON event_chains
WHEN NEW.class <> OLD.class OR NEW.seq < OLD.seq
    OR NOT EXISTS (SELECT 1 FROM events WHERE class = OLD.class AND seq = NEW.seq AND hash = NEW.hash)
BEGIN
    SELECT RAISE(ABORT, 'activity is append-only: the anchor of a class moves to an event of it that is there');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER event_chain_head_moves_on BEFORE UPDATE OF head_seq, head_hash ON event_chains
WHEN NEW.head_seq < OLD.head_seq
    OR NEW.head_seq > OLD.head_seq AND NOT EXISTS (SELECT 1 FROM events WHERE class = OLD.class AND seq = NEW.head_seq AND hash = NEW.head_hash)
BEGIN
    SELECT RAISE(ABORT, 'activity is append-only: the head of a class moves to an event of it that is there');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER event_chain_is_made_once BEFORE INSERT ON event_chains
BEGIN
    SELECT RAISE(ABORT, 'activity is append-only: there are no further classes');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER event_chain_stays BEFORE DELETE ON event_chains
BEGIN
    SELECT RAISE(ABORT, 'activity is append-only: the anchors stay');
END;
-- +goose StatementEnd

-- How old events are, by a clock that nobody sets: up to seq they were there when the
-- authority had seen so much time pass.
CREATE TABLE event_marks (
    seq       BIGINT NOT NULL,
    witnessed BIGINT NOT NULL, -- milliseconds
    at        BIGINT NOT NULL  -- what the clock on the wall said
);

-- Decisions about one workload, or ticket, that are too many to be recorded one by one.
CREATE TABLE counted_events (
    kind        TEXT    NOT NULL,
    allowed     BOOLEAN NOT NULL,
    admin_id    TEXT    NOT NULL,
    ticket_id   TEXT    NOT NULL,
    workload_id TEXT    NOT NULL,
    resource    TEXT    NOT NULL,
    reason      TEXT    NOT NULL, -- of the last one
    count       BIGINT  NOT NULL,
    PRIMARY KEY (kind, allowed, admin_id, ticket_id, workload_id, resource)
) WITHOUT ROWID;

-- +goose Down
-- Hashes of more than one class do not make one chain: what was recorded since is found tampered with.
DROP TABLE counted_events;
DROP TABLE event_marks;
DROP TRIGGER event_chain_stays;
DROP TRIGGER event_chain_is_made_once;
DROP TRIGGER event_chain_head_moves_on;
DROP TRIGGER event_chain_moves_on;
DROP TRIGGER events_delete_before_anchor;
DROP TRIGGER events_insert_at_end;
CREATE TABLE event_anchor (
    id   INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    seq  BIGINT  NOT NULL,
    hash TEXT    NOT NULL
);
INSERT INTO event_anchor (id, seq, hash) SELECT 1, min(seq), hash FROM event_chains;
DROP TABLE event_chains;
DROP INDEX events_class;
ALTER TABLE events DROP COLUMN class;

-- +goose StatementBegin
CREATE TRIGGER events_insert_at_end BEFORE INSERT ON events
WHEN length(NEW.hash) <> 64
    OR NEW.seq IS NOT 1 + coalesce((SELECT max(seq) FROM events), (SELECT seq FROM event_anchor))
BEGIN
    SELECT RAISE(ABORT, 'activity is append-only: an event goes to the end of the chain');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER events_delete_before_anchor BEFORE DELETE ON events
WHEN OLD.seq > (SELECT seq FROM event_anchor)
BEGIN
    SELECT RAISE(ABORT, 'activity is append-only: only retention deletes, oldest first');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER event_anchor_moves_on BEFORE UPDATE ON event_anchor
WHEN NEW.seq < OLD.seq OR NOT EXISTS (SELECT 1 FROM events WHERE seq = NEW.seq AND hash = NEW.hash)
BEGIN
    SELECT RAISE(ABORT, 'activity is append-only: the anchor moves to an event that is there');
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER event_anchor_stays BEFORE DELETE ON event_anchor
BEGIN
    SELECT RAISE(ABORT, 'activity is append-only: the anchor stays');
END;
-- +goose StatementEnd
