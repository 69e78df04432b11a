package resource

import "time"

// Workloads: the kind, and its path below the authority's base.
const (
	KindWorkload  = "Workload"
	WorkloadsPath = "/admin/v1/workloads"
)

// Workload is an enrolled workload, made by its enrolment. Beside its own spec its
// ticket's controls apply.
type Workload = Object[WorkloadSpec, WorkloadStatus]

// WorkloadSpec is what an administrator decides about one workload.
type WorkloadSpec struct {
	Status string `json:"status"` // StatusActive by default
}

// WorkloadStatus is what the authority says of a workload.
type WorkloadStatus struct {
	Ticket        string            `json:"ticket"` // its name
	Role          string            `json:"role"`
	Tags          []string          `json:"tags"`
	KeyThumbprint string            `json:"key_thumbprint"`       // RFC 7638
	Claimed       map[string]string `json:"claimed,omitempty"`    // what it says of itself; not verified
	RefusedBy     string            `json:"refused_by,omitempty"` // the control that refuses it now
	EnrolledAt    time.Time         `json:"enrolled_at"`
	LastContactAt time.Time         `json:"last_contact_at"`
}
