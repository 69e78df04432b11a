package store

import (
	"fmt"
	"time"
)

// States of a signing key. All but the revoked ones are published.
const (
	KeyNext    = "next"    // published, not used yet; one for each purpose
	KeyActive  = "active"  // signs; one for each purpose
	KeyRetired = "retired" // signs no more; what it signed is still valid
	KeyRevoked = "revoked"
)

// PurposeIDToken is the purpose of the keys that sign ID tokens.
const PurposeIDToken = "id_token"

// SigningKey is a signing key whose private part is sealed.
type SigningKey struct {
	ID          string // its thumbprint
	Purpose     string
	Algorithm   string
	State       string
	PublicJWK   string
	Sealed      string // "" once it signs no more
	Version     int64  // changes with every change of state
	CreatedAt   time.Time
	ActivatedAt time.Time // zero until it first signs
	RetiredAt   time.Time
	RevokedAt   time.Time
}

const signingKeyColumns = "kid, purpose, algorithm, state, public_jwk, sealed, version, created_at, activated_at, retired_at, revoked_at"

type signingKeyRow struct {
	SigningKey
	created, activated, retired, revoked int64
}

func (r *signingKeyRow) dest() []any {
	return []any{&r.ID, &r.Purpose, &r.Algorithm, &r.State, &r.PublicJWK, &r.Sealed, &r.Version,
		&r.created, &r.activated, &r.retired, &r.revoked}
}

func (r *signingKeyRow) key() SigningKey {
	r.CreatedAt, r.ActivatedAt = fromMilliseconds(r.created), fromMilliseconds(r.activated)
	r.RetiredAt, r.RevokedAt = fromMilliseconds(r.retired), fromMilliseconds(r.revoked)
	return r.SigningKey
}

// SigningKeys returns every key of that purpose, oldest first.
func (q Queries) SigningKeys(purpose string) ([]SigningKey, error) {
	return q.signingKeys("SELECT "+signingKeyColumns+" FROM signing_keys WHERE purpose = $1 ORDER BY created_at, kid", purpose)
}

// SigningKeyPage returns up to limit keys of any purpose, by id, after the one named.
func (q Queries) SigningKeyPage(after string, limit int) ([]SigningKey, error) {
	return q.signingKeys("SELECT "+signingKeyColumns+" FROM signing_keys WHERE kid > $1 ORDER BY kid LIMIT $2", after, limit)
}

func (q Queries) signingKeys(query string, args ...any) ([]SigningKey, error) {
	rows, err := q.query(query, args...)
	if err != nil {
		return nil, fmt.Errorf("read signing keys: %w", err)
	}
	defer rows.Close()
	var keys []SigningKey
	for rows.Next() {
		var r signingKeyRow
		if err := rows.Scan(r.dest()...); err != nil {
			return nil, fmt.Errorf("read signing keys: %w", explain(err))
		}
		keys = append(keys, r.key())
	}
	return keys, explain(rows.Err())
}

// SigningKey returns the key of that id, or ErrNotFound.
func (q Queries) SigningKey(id string) (SigningKey, error) {
	var r signingKeyRow
	if err := q.row(r.dest(), "SELECT "+signingKeyColumns+" FROM signing_keys WHERE kid = $1", id); err != nil {
		return SigningKey{}, fmt.Errorf("read signing key: %w", err)
	}
	return r.key(), nil
}

// InsertSigningKey adds a key.
func (tx *Tx) InsertSigningKey(k SigningKey) error {
	return tx.exec(`INSERT INTO signing_keys (`+signingKeyColumns+`) VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $8, $9, $10)`,
		k.ID, k.Purpose, k.Algorithm, k.State, k.PublicJWK, k.Sealed,
		milliseconds(k.CreatedAt), milliseconds(k.ActivatedAt), milliseconds(k.RetiredAt), milliseconds(k.RevokedAt))
}

// UpdateSigningKey stores the key's state, its times, and its sealed private part.
func (tx *Tx) UpdateSigningKey(k SigningKey) error {
	return tx.exec(`UPDATE signing_keys SET state = $1, sealed = $2, activated_at = $3, retired_at = $4, revoked_at = $5,
		version = version + 1 WHERE kid = $6`,
		k.State, k.Sealed, milliseconds(k.ActivatedAt), milliseconds(k.RetiredAt), milliseconds(k.RevokedAt), k.ID)
}

// DeleteSigningKey forgets a key.
func (tx *Tx) DeleteSigningKey(id string) error {
	return tx.exec("DELETE FROM signing_keys WHERE kid = $1", id)
}
