package store

import (
	"fmt"
	"time"
)

// AdminToken is an administrator's token without its secret.
type AdminToken struct {
	ID          string // at1:…, or what an administrator chose
	Description string
	Role        string
	Version     int64 // changes with every edit
	CreatedAt   time.Time
	ExpiresAt   time.Time // zero means never
}

const adminTokenColumns = "id, description, role, version, created_at, expires_at"

type adminTokenRow struct {
	AdminToken
	createdAt, expiresAt int64
}

func (r *adminTokenRow) dest() []any {
	return []any{&r.ID, &r.Description, &r.Role, &r.Version, &r.createdAt, &r.expiresAt}
}

func (r *adminTokenRow) token() AdminToken {
	r.CreatedAt, r.ExpiresAt = fromMilliseconds(r.createdAt), fromMilliseconds(r.expiresAt)
	return r.AdminToken
}

// AdminToken returns the token of that name, or ErrNotFound.
func (q Queries) AdminToken(id string) (AdminToken, error) {
	return q.oneAdminToken("SELECT "+adminTokenColumns+" FROM admin_tokens WHERE id = $1", id)
}

// AdminTokenBySecret returns the token whose secret has that digest, or ErrNotFound.
func (q Queries) AdminTokenBySecret(secretSHA256 string) (AdminToken, error) {
	return q.oneAdminToken("SELECT "+adminTokenColumns+" FROM admin_tokens WHERE secret_sha256 = $1", secretSHA256)
}

func (q Queries) oneAdminToken(query, arg string) (AdminToken, error) {
	var row adminTokenRow
	if err := q.row(row.dest(), query, arg); err != nil {
		return AdminToken{}, fmt.Errorf("read admin token: %w", err)
	}
	return row.token(), nil
}

// AdminTokens returns up to limit tokens, by name, after the one named.
func (q Queries) AdminTokens(after string, limit int) ([]AdminToken, error) {
	rows, err := q.query("SELECT "+adminTokenColumns+" FROM admin_tokens WHERE id > $1 ORDER BY id LIMIT $2", after, limit)
	if err != nil {
		return nil, fmt.Errorf("list admin tokens: %w", err)
	}
	defer rows.Close()
	var tokens []AdminToken
	for rows.Next() {
		var row adminTokenRow
		if err := rows.Scan(row.dest()...); err != nil {
			return nil, fmt.Errorf("list admin tokens: %w", explain(err))
		}
		tokens = append(tokens, row.token())
	}
	return tokens, explain(rows.Err())
}

// HasAdminTokens reports whether there is any.
func (q Queries) HasAdminTokens() (bool, error) {
	n, err := q.count("SELECT COUNT(*) FROM admin_tokens")
	return n > 0, err
}

// OtherAdminTokens counts the tokens beside id that have a role at that time.
func (q Queries) OtherAdminTokens(id, role string, now time.Time) (int64, error) {
	return q.count("SELECT COUNT(*) FROM admin_tokens WHERE id <> $1 AND role = $2 AND (expires_at = 0 OR expires_at > $3)",
		id, role, milliseconds(now))
}

// InsertAdminToken adds a token whose secret has that digest.
func (tx *Tx) InsertAdminToken(t AdminToken, secretSHA256 string) error {
	return tx.exec(`INSERT INTO admin_tokens (id, secret_sha256, description, role, version, created_at, expires_at)
		VALUES ($1, $2, $3, $4, 1, $5, $6)`,
		t.ID, secretSHA256, t.Description, t.Role, milliseconds(t.CreatedAt), milliseconds(t.ExpiresAt))
}

// UpdateAdminToken stores all that can be edited of t.
func (tx *Tx) UpdateAdminToken(t AdminToken) error {
	return tx.exec("UPDATE admin_tokens SET description = $1, role = $2, expires_at = $3, version = version + 1 WHERE id = $4",
		t.Description, t.Role, milliseconds(t.ExpiresAt), t.ID)
}

// DeleteAdminToken revokes a token.
func (tx *Tx) DeleteAdminToken(id string) error {
	return tx.exec("DELETE FROM admin_tokens WHERE id = $1", id)
}

// DeleteAdminTokens revokes every token, and returns how many there were.
func (tx *Tx) DeleteAdminTokens() (int64, error) {
	return tx.change("DELETE FROM admin_tokens")
}
