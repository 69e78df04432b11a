package authority

import (
	"fmt"
	"slices"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// Controls of a ticket, as a refusal names them.
const (
	controlStatus      = "status"
	controlExpiry      = "expires_at"
	controlMaxUses     = "max_uses"
	controlEnrolment   = "enrolment"
	controlWorkloadTTL = "workload_ttl"
	controlWorkload    = "workload_status"
	controlAudiences   = "audiences"
	controlNetworks    = "networks"
	controlRole        = "role"
)

// violation is a control that refuses, and why.
type violation struct {
	control string
	why     string
}

func (v *violation) String() string { return v.control + ": " + v.why }

// message is what an authenticated workload is told.
func (v *violation) message() string {
	return fmt.Sprintf("refused by the ticket's control %s: %s", v.control, v.why)
}

// checkTicket evaluates the controls on a ticket that hold wherever a contact comes from.
func checkTicket(t store.Ticket, now time.Time) *violation {
	if t.Status != store.TicketActive {
		return &violation{controlStatus, "the ticket was " + t.Status}
	}
	if !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt) {
		return &violation{controlExpiry, "the ticket expired at " + t.ExpiresAt.Format(time.RFC3339)}
	}
	return nil
}

// checkEnrolment evaluates the controls on a ticket that hold for new enrolments
// only, wherever they come from. Uses are counted in the same write.
func checkEnrolment(t store.Ticket, now time.Time) *violation {
	if v := checkTicket(t, now); v != nil {
		return v
	}
	if !t.Closed {
		return nil
	}
	if t.ClosedBecause != "" {
		return &violation{controlEnrolment, "the ticket is closed: " + t.ClosedBecause}
	}
	return &violation{controlEnrolment, "the ticket is closed"}
}

// checkEnrolled evaluates the controls on an enrolled workload that hold wherever
// it calls from.
func checkEnrolled(e store.Enrolled, now time.Time) *violation {
	if v := checkTicket(e.Ticket, now); v != nil {
		return v
	}
	if e.Workload.Status != resource.StatusActive {
		return &violation{controlWorkload, "the workload was " + e.Workload.Status}
	}
	if ttl := e.Ticket.WorkloadTTL; ttl > 0 && !now.Before(e.Workload.CreatedAt.Add(ttl)) {
		return &violation{controlWorkloadTTL, fmt.Sprintf("the workload was enrolled at %s for %s",
			e.Workload.CreatedAt.Format(time.RFC3339), ttl)}
	}
	return nil
}

// checkContact evaluates every control on an enrolled workload that calls now.
func checkContact(q store.Queries, e store.Enrolled, from source, now time.Time) (*violation, error) {
	if v := checkEnrolled(e, now); v != nil {
		return v, nil
	}
	return checkNetworks(q, e.Ticket, from)
}

// checkAudiences evaluates the ticket's restriction of audiences. A token for no
// audience would pass at any verifier that does not look, so a restricted ticket
// does not give one.
func checkAudiences(t store.Ticket, asked []string) *violation {
	if len(t.Audiences) == 0 {
		return nil
	}
	if len(asked) == 0 {
		return &violation{controlAudiences, "the ticket restricts audiences, and the request names none"}
	}
	for _, audience := range asked {
		if !slices.Contains(t.Audiences, audience) {
			return &violation{controlAudiences, fmt.Sprintf("%q is not among the ticket's audiences", audience)}
		}
	}
	return nil
}

// reasonOf is what the activity says of a violation, "" of none.
func reasonOf(v *violation) string {
	if v == nil {
		return ""
	}
	return v.String()
}
