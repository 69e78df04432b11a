package resource

import "time"

// Paths below the authority's base. A name follows the kind's path after "/".
const (
	TicketsPath   = "/admin/v1/tickets"
	WorkloadsPath = "/admin/v1/workloads"
)

// Kinds of resource.
const (
	KindTicket   = "Ticket"
	KindWorkload = "Workload"
)

// MaxPage is the largest page of a listing.
const MaxPage = 200

// Page is one page of a listing. Next, if not empty, is the query parameter
// "after" of the next one.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// Error is the body of every answer that is no success.
type Error struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// Ticket is a registration code. Secret is there only in the answer to its
// creation: it is shown once.
type Ticket struct {
	Kind   string       `json:"kind"`
	Name   string       `json:"name"`
	Spec   TicketSpec   `json:"spec"`
	Status TicketStatus `json:"status"`
	Secret string       `json:"ticket,omitempty"`
}

// Roles of the workloads that a ticket enrols.
const (
	RoleWorkload     = "workload"
	RoleOrchestrator = "orchestrator"
	RoleAgent        = "agent"
)

// Statuses that a ticket can be given.
const (
	StatusActive      = "active"
	StatusDeactivated = "deactivated"
)

// TicketSpec is what an administrator decides about a ticket.
type TicketSpec struct {
	Description string     `json:"description"`
	Status      string     `json:"status"`                 // StatusActive by default
	Role        string     `json:"role"`                   // RoleWorkload by default
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`   // none: never
	MaxUses     int64      `json:"max_uses"`               // 0: any number of workloads
	WorkloadTTL string     `json:"workload_ttl,omitempty"` // like "720h", from enrolment; none: for ever
	Tags        []string   `json:"tags"`
	Audiences   []string   `json:"audiences"` // none: tokens for any audience
}

// States that follow from a ticket's spec and use.
const (
	StateActive      = "active"
	StateDeactivated = "deactivated"
	StateExpired     = "expired"
	StateUsedUp      = "used_up" // no further enrolments; enrolled workloads go on
)

// TicketStatus is what the authority says of a ticket.
type TicketStatus struct {
	State     string    `json:"state"`
	Uses      int64     `json:"uses"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Workload is an enrolled workload. It has no spec of its own: its ticket's
// controls apply.
type Workload struct {
	Kind   string         `json:"kind"`
	Name   string         `json:"name"`
	Status WorkloadStatus `json:"status"`
}

// WorkloadStatus is what the authority says of a workload.
type WorkloadStatus struct {
	Ticket        string            `json:"ticket"` // public id
	Role          string            `json:"role"`
	Tags          []string          `json:"tags"`
	KeyThumbprint string            `json:"key_thumbprint"`       // RFC 7638
	Claimed       map[string]string `json:"claimed,omitempty"`    // what it says of itself; not verified
	RefusedBy     string            `json:"refused_by,omitempty"` // the control that refuses it now
	EnrolledAt    time.Time         `json:"enrolled_at"`
	LastContactAt time.Time         `json:"last_contact_at"`
}
