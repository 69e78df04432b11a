package resource

import "time"

// Administrators' tokens: the kind, and its path below the authority's base.
const (
	KindAdminToken  = "AdminToken"
	AdminTokensPath = "/admin/v1/admin-tokens"
)

// AdminToken lets somebody use the admin API. Its secret is the Token member of the
// answer to its creation. Removing it revokes it at once.
type AdminToken = Object[AdminTokenSpec, AdminTokenStatus]

// Roles of administrators.
const (
	RoleAdmin  = "admin"
	RoleViewer = "viewer" // may look, and change nothing
)

// AdminTokenSpec is what an administrator decides about a token.
type AdminTokenSpec struct {
	Description string     `json:"description"`
	Role        string     `json:"role"`                 // RoleViewer by default
	ExpiresAt   *time.Time `json:"expires_at,omitempty"` // none: never
}

// AdminTokenStatus is what the authority says of a token.
type AdminTokenStatus struct {
	CreatedAt time.Time `json:"created_at"`
}
