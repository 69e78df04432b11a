package store

import (
	"fmt"
	"time"
)

// Secret is what workloads with all of its tags may read.
type Secret struct {
	ID          string // sc1:…, or what an administrator chose
	Description string
	Sealed      string // the content
	Tags        []string
	ExpiresAt   time.Time // zero means never
	Version     int64     // changes with every edit
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

const secretColumns = "id, description, sealed, tags, expires_at, version, created_at, updated_at"

type secretRow struct {
	Secret
	tags                        string
	expires, created, updatedAt int64
}

func (r *secretRow) dest() []any {
	return []any{&r.ID, &r.Description, &r.Sealed, &r.tags, &r.expires, &r.Version, &r.created, &r.updatedAt}
}

func (r *secretRow) secret() (Secret, error) {
	var err error
	r.Tags, err = parseList(r.tags)
	r.ExpiresAt, r.CreatedAt, r.UpdatedAt = fromMilliseconds(r.expires), fromMilliseconds(r.created), fromMilliseconds(r.updatedAt)
	return r.Secret, err
}

// Secret returns the secret of that name, or ErrNotFound.
func (q Queries) Secret(id string) (Secret, error) {
	var row secretRow
	if err := q.row(row.dest(), "SELECT "+secretColumns+" FROM secrets WHERE id = $1", id); err != nil {
		return Secret{}, fmt.Errorf("read secret: %w", err)
	}
	return row.secret()
}

// Secrets returns up to limit secrets, by name, after the one named.
func (q Queries) Secrets(after string, limit int) ([]Secret, error) {
	rows, err := q.query("SELECT "+secretColumns+" FROM secrets WHERE id > $1 ORDER BY id LIMIT $2", after, limit)
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	defer rows.Close()
	var secrets []Secret
	for rows.Next() {
		var row secretRow
		if err := rows.Scan(row.dest()...); err != nil {
			return nil, fmt.Errorf("list secrets: %w", explain(err))
		}
		secret, err := row.secret()
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, secret)
	}
	return secrets, explain(rows.Err())
}

// InsertSecret adds a secret.
func (tx *Tx) InsertSecret(s Secret) error {
	return tx.exec("INSERT INTO secrets ("+secretColumns+") VALUES ($1, $2, $3, $4, $5, 1, $6, $6)",
		s.ID, s.Description, s.Sealed, formatList(s.Tags), milliseconds(s.ExpiresAt), milliseconds(s.CreatedAt))
}

// UpdateSecret stores all that can be edited of s; without Sealed the content stays.
func (tx *Tx) UpdateSecret(s Secret) error {
	return tx.exec(`UPDATE secrets SET description = $1, sealed = CASE WHEN $2 = '' THEN sealed ELSE $2 END, tags = $3, expires_at = $4,
			version = version + 1, updated_at = $5 WHERE id = $6`,
		s.Description, s.Sealed, formatList(s.Tags), milliseconds(s.ExpiresAt), milliseconds(s.UpdatedAt), s.ID)
}

// DeleteSecret removes a secret.
func (tx *Tx) DeleteSecret(id string) error {
	return tx.exec("DELETE FROM secrets WHERE id = $1", id)
}
