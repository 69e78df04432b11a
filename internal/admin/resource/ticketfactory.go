package resource

import "time"

// Ticket factories: the kind, and its path below the authority's base.
const (
	KindTicketFactory   = "TicketFactory"
	TicketFactoriesPath = "/admin/v1/ticket-factories"
)

// TicketFactory is a template from which orchestrators mint tickets.
type TicketFactory = Object[TicketFactorySpec, TicketFactoryStatus]

// TicketFactorySpec is what an administrator decides about a factory. A change
// holds for the tickets made from then on.
type TicketFactorySpec struct {
	Description string `json:"description"`
	Status      string `json:"status"` // StatusActive by default
	// Orchestrators may use the factory: a workload by its id, or all that a ticket
	// enrolled by the ticket's name. Beside that their role must be RoleOrchestrator.
	Orchestrators []string       `json:"orchestrators"` // none: nobody
	Ticket        TicketTemplate `json:"ticket"`
}

// TicketTemplate is the TicketSpec of the tickets that a factory makes. They are
// active, and expire some time after they were made.
type TicketTemplate struct {
	Description string   `json:"description"`
	Role        string   `json:"role"`                 // RoleWorkload by default; not RoleOrchestrator
	ExpiresIn   string   `json:"expires_in,omitempty"` // like "1h"; none: never
	MaxUses     int64    `json:"max_uses"`             // 0: any number of workloads
	WorkloadTTL string   `json:"workload_ttl,omitempty"`
	Tags        []string `json:"tags"`
	Audiences   []string `json:"audiences"`
	Networks    []string `json:"networks"`
}

// TicketFactoryStatus is what the authority says of a factory.
type TicketFactoryStatus struct {
	Minted    int64     `json:"minted"` // tickets, ever
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}
