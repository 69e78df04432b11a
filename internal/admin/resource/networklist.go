package resource

import "time"

// Network lists: the kind, and its path below the authority's base.
const (
	KindNetworkList  = "NetworkList"
	NetworkListsPath = "/admin/v1/network-lists"
)

// PublicAccess is the list of every address. It exists from the start, and stays.
const PublicAccess = "public-access"

// NetworkList is a named list of networks that workloads may call from.
type NetworkList = Object[NetworkListSpec, NetworkListStatus]

// NetworkListSpec is what an administrator decides about a list. A change holds for
// every ticket that names it, from the next contact on.
type NetworkListSpec struct {
	Description string   `json:"description"`
	CIDRs       []string `json:"cidrs"` // IPv4 and IPv6; an address alone is a network of one
}

// NetworkListStatus is what the authority says of a list.
type NetworkListStatus struct {
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}
