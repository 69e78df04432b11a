-- 00031 is in Go: it chains the events that were there before.

-- +goose Up
-- +goose StatementBegin
CREATE TRIGGER events_no_update BEFORE UPDATE ON events
BEGIN
    SELECT RAISE(ABORT, 'activity is append-only: no update');
END;
-- +goose StatementEnd

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

-- +goose Down
DROP TRIGGER event_anchor_stays;
DROP TRIGGER event_anchor_moves_on;
DROP TRIGGER events_delete_before_anchor;
DROP TRIGGER events_insert_at_end;
DROP TRIGGER events_no_update;
