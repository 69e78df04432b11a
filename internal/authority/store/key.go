package store

import (
	"fmt"
	"time"
)

// States of a signing key. All but the revoked ones are published.
const (
	KeyNext    = "next"    // published, not used yet
	KeyActive  = "active"  // signs; one for each purpose
	KeyRetired = "retired" // signs no more; what it signed is still valid
	KeyRevoked = "revoked"
)

// PurposeIDToken is the purpose of the keys that sign ID tokens.
const PurposeIDToken = "id_token"

// SigningKey is a signing key whose private part is sealed.
type SigningKey struct {
	ID        string // its thumbprint
	Purpose   string
	Algorithm string
	State     string
	PublicJWK string
	Sealed    string
	CreatedAt time.Time
}

// SigningKeys returns every key of that purpose, oldest first.
func (q Queries) SigningKeys(purpose string) ([]SigningKey, error) {
	rows, err := q.query(`SELECT kid, purpose, algorithm, state, public_jwk, sealed, created_at
		FROM signing_keys WHERE purpose = $1 ORDER BY created_at, kid`, purpose)
	if err != nil {
		return nil, fmt.Errorf("read signing keys: %w", err)
	}
	defer rows.Close()
	var keys []SigningKey
	for rows.Next() {
		var k SigningKey
		var createdAt int64
		if err := rows.Scan(&k.ID, &k.Purpose, &k.Algorithm, &k.State, &k.PublicJWK, &k.Sealed, &createdAt); err != nil {
			return nil, fmt.Errorf("read signing keys: %w", explain(err))
		}
		k.CreatedAt = fromMilliseconds(createdAt)
		keys = append(keys, k)
	}
	return keys, explain(rows.Err())
}

// InsertSigningKey adds a key.
func (tx *Tx) InsertSigningKey(k SigningKey) error {
	return tx.exec(`INSERT INTO signing_keys (kid, purpose, algorithm, state, public_jwk, sealed, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		k.ID, k.Purpose, k.Algorithm, k.State, k.PublicJWK, k.Sealed, milliseconds(k.CreatedAt))
}
