package store

import (
	"errors"
	"fmt"
	"time"
)

// SettingOrInsert returns the setting of that name; if there is none yet it
// stores value and returns that.
func (tx *Tx) SettingOrInsert(name, value string) (string, error) {
	var stored string
	err := tx.row([]any{&stored}, "SELECT value FROM settings WHERE name = $1", name)
	if errors.Is(err, ErrNotFound) {
		return value, tx.exec("INSERT INTO settings (name, value) VALUES ($1, $2)", name, value)
	}
	if err != nil {
		return "", fmt.Errorf("read setting %s: %w", name, err)
	}
	return stored, nil
}

// AdminToken is an administrator's token without its secret.
type AdminToken struct {
	ID        string // at1:…
	Role      string
	CreatedAt time.Time
	ExpiresAt time.Time // zero means never
}

// AdminToken returns the token whose secret has that digest, or ErrNotFound.
func (q Queries) AdminToken(secretSHA256 string) (AdminToken, error) {
	var t AdminToken
	var createdAt, expiresAt int64
	err := q.row([]any{&t.ID, &t.Role, &createdAt, &expiresAt},
		"SELECT id, role, created_at, expires_at FROM admin_tokens WHERE secret_sha256 = $1", secretSHA256)
	if err != nil {
		return AdminToken{}, fmt.Errorf("read admin token: %w", err)
	}
	t.CreatedAt, t.ExpiresAt = fromMilliseconds(createdAt), fromMilliseconds(expiresAt)
	return t, nil
}

// AdminTokens returns how many there are.
func (q Queries) AdminTokens() (int64, error) {
	return q.count("SELECT COUNT(*) FROM admin_tokens")
}

// InsertAdminToken adds a token whose secret has that digest.
func (tx *Tx) InsertAdminToken(t AdminToken, secretSHA256 string) error {
	return tx.exec("INSERT INTO admin_tokens (id, secret_sha256, role, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)",
		t.ID, secretSHA256, t.Role, milliseconds(t.CreatedAt), milliseconds(t.ExpiresAt))
}
