package resource

import "time"

// Secrets: the kind, and its path below the authority's base.
const (
	KindSecret  = "Secret"
	SecretsPath = "/admin/v1/secrets"
)

// Secret is a value that a workload reads if it has every tag of the secret.
type Secret = Object[SecretSpec, SecretStatus]

// SecretSpec is what an administrator decides about a secret.
type SecretSpec struct {
	Description string     `json:"description"`
	Content     *string    `json:"content,omitempty"` // write-only: in no answer; a change without it keeps it
	Tags        []string   `json:"tags"`              // none: every workload may read it
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`
}

// SecretStatus is what the authority says of a secret.
type SecretStatus struct {
	State     string    `json:"state"` // StateActive or StateExpired
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}
