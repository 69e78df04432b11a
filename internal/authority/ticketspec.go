package authority

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// Limits of a ticket.
const (
	maxDescription     = 256 // characters
	maxTags            = 32
	maxTagLength       = 64
	maxTicketAudiences = 32
	maxTicketUses      = 1 << 31
	maxWorkloadTTL     = 10 * 365 * 24 * time.Hour
	maxTicketLife      = 100 * 365 * 24 * time.Hour
)

// ticketFromSpec checks a spec and returns the ticket that it describes.
func ticketFromSpec(spec resource.TicketSpec, now time.Time) (store.Ticket, error) {
	now = now.UTC().Truncate(time.Millisecond) // as it is stored
	t := store.Ticket{
		Description: spec.Description,
		Role:        orDefault(spec.Role, resource.RoleWorkload),
		Status:      orDefault(spec.Status, resource.StatusActive),
		MaxUses:     spec.MaxUses,
		Tags:        spec.Tags,
		Audiences:   spec.Audiences,
		CreatedAt:   now,
		UpdatedAt:   now,
		Version:     1,
	}
	if t.MaxUses < 0 || t.MaxUses > maxTicketUses {
		return t, badRequest("max_uses is not between 0 (any number) and %d", maxTicketUses)
	}
	if !slices.Contains([]string{resource.RoleWorkload, resource.RoleOrchestrator, resource.RoleAgent}, t.Role) {
		return t, badRequest("role is not workload, orchestrator or agent")
	}
	if err := checkLists(t); err != nil {
		return t, err
	}
	if spec.WorkloadTTL != "" {
		ttl, err := time.ParseDuration(spec.WorkloadTTL)
		if err != nil || ttl < time.Second || ttl > maxWorkloadTTL {
			return t, badRequest(`workload_ttl is not a duration like "720h", between 1s and %s`, maxWorkloadTTL)
		}
		t.WorkloadTTL = ttl
	}
	if err := setExpiry(&t, spec.ExpiresAt, now); err != nil {
		return t, err
	}
	if spec.ExpiresAt != nil && !spec.ExpiresAt.After(now) {
		return t, badRequest("expires_at is in the past")
	}
	return t, checkEditable(t)
}

func checkLists(t store.Ticket) error {
	if len(t.Tags) > maxTags || len(t.Audiences) > maxTicketAudiences {
		return badRequest("more than %d tags or %d audiences", maxTags, maxTicketAudiences)
	}
	for i, tag := range t.Tags {
		if tag == "" || len(tag) > maxTagLength || !isPrintable(tag) || strings.ContainsAny(tag, " ,") || slices.Contains(t.Tags[:i], tag) {
			return badRequest("tags are different words of 1 to %d printable bytes without space or comma", maxTagLength)
		}
	}
	for i, audience := range t.Audiences {
		if !isAudience(audience) || slices.Contains(t.Audiences[:i], audience) {
			return badRequest("audiences are different words of 1 to %d printable bytes without space", maxAudienceLength)
		}
	}
	return nil
}

func setExpiry(t *store.Ticket, at *time.Time, now time.Time) error {
	if at == nil {
		t.ExpiresAt = time.Time{}
		return nil
	}
	if at.Unix() <= 0 || at.After(now.Add(maxTicketLife)) {
		return badRequest("expires_at is not a date of the coming hundred years")
	}
	t.ExpiresAt = at.UTC().Truncate(time.Millisecond) // as it is stored
	return nil
}

// checkEditable checks the fields that can also be changed later.
func checkEditable(t store.Ticket) error {
	if utf8.RuneCountInString(t.Description) > maxDescription || !isPrintable(t.Description) {
		return badRequest("description is not up to %d printable characters", maxDescription)
	}
	if t.Status != resource.StatusActive && t.Status != resource.StatusDeactivated {
		return badRequest("status is not active or deactivated")
	}
	return nil
}

// ticketPatch is what may be changed of a ticket; absent members stay.
type ticketPatch struct {
	Description *string         `json:"description"`
	Status      *string         `json:"status"`
	ExpiresAt   json.RawMessage `json:"expires_at"` // null: never
}

func (p ticketPatch) apply(t *store.Ticket, now time.Time) error {
	if p.Description != nil {
		t.Description = *p.Description
	}
	if p.Status != nil {
		t.Status = *p.Status
	}
	if p.ExpiresAt != nil {
		var at *time.Time
		if err := json.Unmarshal(p.ExpiresAt, &at); err != nil {
			return badRequest("expires_at is not an RFC 3339 time or null")
		}
		if err := setExpiry(t, at, now); err != nil {
			return err
		}
	}
	return checkEditable(*t)
}

// ticketResource is the wire form of a ticket, without its secret.
func ticketResource(t store.Ticket, now time.Time) resource.Ticket {
	spec := resource.TicketSpec{
		Description: t.Description,
		Status:      t.Status,
		Role:        t.Role,
		MaxUses:     t.MaxUses,
		Tags:        append([]string{}, t.Tags...),
		Audiences:   append([]string{}, t.Audiences...),
	}
	if !t.ExpiresAt.IsZero() {
		spec.ExpiresAt = &t.ExpiresAt
	}
	if t.WorkloadTTL > 0 {
		spec.WorkloadTTL = t.WorkloadTTL.String()
	}
	return resource.Ticket{
		Kind: resource.KindTicket,
		Name: t.ID,
		Spec: spec,
		Status: resource.TicketStatus{
			State: ticketState(t, now), Uses: t.Uses, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
		},
	}
}

func ticketState(t store.Ticket, now time.Time) string {
	switch v := checkTicket(t, now); {
	case v != nil && v.control == controlExpiry:
		return resource.StateExpired
	case v != nil:
		return resource.StateDeactivated
	case t.MaxUses > 0 && t.Uses >= t.MaxUses:
		return resource.StateUsedUp
	}
	return resource.StateActive
}

func orDefault(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}
