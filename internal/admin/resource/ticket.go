package resource

import "time"

// Tickets: the kind, and its path below the authority's base.
const (
	KindTicket  = "Ticket"
	TicketsPath = "/admin/v1/tickets"
)

// Ticket is a registration code. Its Name is public, its secret is the Ticket
// member of the answer to its creation.
type Ticket = Object[TicketSpec, TicketStatus]

// Roles of the workloads that a ticket enrols.
const (
	RoleWorkload     = "workload"
	RoleOrchestrator = "orchestrator"
	RoleAgent        = "agent"
)

// Statuses that a ticket or a workload can be given.
const (
	StatusActive      = "active"
	StatusDeactivated = "deactivated"
)

// Whether a ticket enrols new workloads. Those that it has enrolled go on either way.
const (
	EnrolmentOpen   = "open"
	EnrolmentClosed = "closed"
)

// TicketSpec is what an administrator decides about a ticket. All of it can be
// changed later, and is evaluated at every contact of the workloads enrolled.
type TicketSpec struct {
	Description string     `json:"description"`
	Status      string     `json:"status"`                  // StatusActive by default
	Enrolment   string     `json:"enrolment"`               // left out: as it is, EnrolmentOpen of a new one
	Role        string     `json:"role"`                    // RoleWorkload by default
	ExpiresAt   *time.Time `json:"expires_at,omitempty"`    // none: never
	MaxUses     int64      `json:"max_uses"`                // 0: any number of workloads
	WorkloadTTL string     `json:"workload_ttl,omitempty"`  // like "720h", from enrolment; none: for ever
	MaxTokenTTL string     `json:"max_token_ttl,omitempty"` // like "1h", of an ID token; none: the authority's
	Tags        []string   `json:"tags"`
	Audiences   []string   `json:"audiences"` // none: tokens for any audience
	Networks    []string   `json:"networks"`  // names of NetworkLists, one of which must hold the source; none: any source
}

// States that follow from a ticket's spec and use.
const (
	StateActive      = "active"
	StateDeactivated = "deactivated"
	StateExpired     = "expired"
	StateUsedUp      = "used_up" // no further enrolments; enrolled workloads go on
	StateClosed      = "closed"  // the same
)

// TicketStatus is what the authority says of a ticket.
type TicketStatus struct {
	State     string    `json:"state"`
	Closed    string    `json:"closed,omitempty"` // why it is, where no administrator closed it
	Uses      int64     `json:"uses"`
	Factory   string    `json:"factory,omitempty"` // that an orchestrator made it by
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}
