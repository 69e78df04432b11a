package resource

import "time"

// Signing keys: the kind, and its path below the authority's base.
const (
	KindSigningKey  = "SigningKey"
	SigningKeysPath = "/admin/v1/signing-keys"
)

// SigningKey is a key that the authority signs by, without its private part. Its Name
// is its id in the JWKS. The authority makes and replaces keys by itself; an
// administrator can rotate and revoke them.
type SigningKey = Object[SigningKeySpec, SigningKeyStatus]

// SigningKeySpec is empty: nobody declares a key.
type SigningKeySpec struct{}

// SigningKeyStatus is what the authority says of a key.
type SigningKeyStatus struct {
	State       string     `json:"state"` // next, active, retired, revoked
	Algorithm   string     `json:"algorithm"`
	Purpose     string     `json:"purpose"`
	CreatedAt   time.Time  `json:"created_at"` // and published
	ActivatedAt *time.Time `json:"activated_at,omitempty"`
	RotatesAt   *time.Time `json:"rotates_at,omitempty"` // of the active key
	RetiredAt   *time.Time `json:"retired_at,omitempty"`
	RevokedAt   *time.Time `json:"revoked_at,omitempty"`
}
