package resource

import "time"

// Ticket factories: the kind, and its path below the authority's base.
const (
	KindTicketFactory   = "TicketFactory"
	TicketFactoriesPath = "/admin/v1/ticket-factories"
)

// Whether a factory mints tickets, beside that its status must be StatusActive. A
// restore closes it.
const (
	MintingOpen   = "open"
	MintingClosed = "closed"
)

// TicketFactory is a template from which orchestrators mint tickets.
type TicketFactory = Object[TicketFactorySpec, TicketFactoryStatus]

// TicketFactorySpec is what an administrator decides about a factory. A change
// holds for the tickets made from then on.
type TicketFactorySpec struct {
	Description string `json:"description"`
	Status      string `json:"status"`  // StatusActive by default
	Minting     string `json:"minting"` // left out: as it is, MintingOpen of a new one
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
	MaxTokenTTL string   `json:"max_token_ttl,omitempty"`
	Tags        []string `json:"tags"`
	Audiences   []string `json:"audiences"`
	Networks    []string `json:"networks"`
}

// TicketFactoryStatus is what the authority says of a factory.
type TicketFactoryStatus struct {
	Closed    string    `json:"closed,omitempty"` // why it is, where no administrator closed it
	Minted    int64     `json:"minted"`           // tickets, ever
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}
