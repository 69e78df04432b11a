package authority

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/jose"
)

// Limits of a ticket.
const (
	maxDescription     = 256 // characters
	maxTags            = 32
	maxTagLength       = 64
	maxTicketAudiences = 32
	maxTicketNetworks  = 16
	maxTicketUses      = 1 << 31
	maxLifetime        = 10 * 365 * 24 * time.Hour
	maxLife            = 100 * 365 * 24 * time.Hour
)

// tickets is the kind of registration codes.
func (a *Authority) tickets() kind[resource.TicketSpec, resource.TicketStatus] {
	return kind[resource.TicketSpec, resource.TicketStatus]{
		name: resource.KindTicket, path: resource.TicketsPath, noun: "ticket",
		newName: func() (string, error) { return randomID(a.random, prefixTicket) },
		check:   checkTicketSpec,
		mark:    func(event *store.Event, name string) { event.TicketID = name },
		show: func(q store.Queries, name string, now time.Time) (declared[resource.TicketSpec, resource.TicketStatus], error) {
			ticket, err := q.Ticket(name)
			return declaredTicket(ticket, now), err
		},
		list: func(q store.Queries, after string, limit int, now time.Time) ([]declared[resource.TicketSpec, resource.TicketStatus], error) {
			tickets, err := q.Tickets(after, limit)
			all := make([]declared[resource.TicketSpec, resource.TicketStatus], len(tickets))
			for i, ticket := range tickets {
				all[i] = declaredTicket(ticket, now)
			}
			return all, err
		},
		insert: func(tx *store.Tx, name string, spec resource.TicketSpec, now time.Time) (minted, error) {
			secret, err := randomSecret(a.random, secretTicket)
			if err != nil {
				return minted{}, err
			}
			if err := checkListsExist(tx.Queries, spec.Networks); err != nil {
				return minted{}, err
			}
			return minted{ticket: secret}, tx.InsertTicket(ticketOf(name, spec, now), jose.Digest([]byte(secret)))
		},
		update: updateTicket,
		remove: (*store.Tx).DeleteTicket,
	}
}

func updateTicket(tx *store.Tx, name string, spec resource.TicketSpec, now time.Time) error {
	stored, err := tx.Ticket(name)
	if err != nil {
		return err
	}
	if spec.MaxUses > 0 && spec.MaxUses < stored.Uses {
		return badRequest("max_uses is less than the %d uses that there were; deactivate the ticket to stop it", stored.Uses)
	}
	if err := checkListsExist(tx.Queries, spec.Networks); err != nil {
		return err
	}
	return tx.UpdateTicket(ticketOf(name, spec, now))
}

// checkTicketSpec refuses what is wrong with a spec, and puts in what was left out.
func checkTicketSpec(spec, old *resource.TicketSpec, now time.Time) error {
	spec.Role = orDefault(spec.Role, resource.RoleWorkload)
	spec.Status = orDefault(spec.Status, resource.StatusActive)
	if old != nil {
		// A file that was written before a backup was restored must not reopen what the
		// restore closed: that has to be said.
		spec.Enrolment = orDefault(spec.Enrolment, old.Enrolment)
	}
	spec.Enrolment = orDefault(spec.Enrolment, resource.EnrolmentOpen)
	spec.Tags, spec.Audiences = append([]string{}, spec.Tags...), append([]string{}, spec.Audiences...)
	spec.Networks = append([]string{}, spec.Networks...)
	if err := checkDescription(spec.Description); err != nil {
		return err
	}
	if err := checkStatus(spec.Status); err != nil {
		return err
	}
	if spec.Enrolment != resource.EnrolmentOpen && spec.Enrolment != resource.EnrolmentClosed {
		return badRequest("enrolment is not open or closed")
	}
	if spec.MaxUses < 0 || spec.MaxUses > maxTicketUses {
		return badRequest("max_uses is not between 0 (any number) and %d", maxTicketUses)
	}
	if !slices.Contains([]string{resource.RoleWorkload, resource.RoleOrchestrator, resource.RoleAgent}, spec.Role) {
		return badRequest("role is not workload, orchestrator or agent")
	}
	if err := checkTags(spec.Tags); err != nil {
		return err
	}
	if err := checkTicketAudiences(spec.Audiences); err != nil {
		return err
	}
	if err := checkTicketNetworks(spec.Networks); err != nil {
		return err
	}
	if err := checkLifetime("workload_ttl", &spec.WorkloadTTL, maxLifetime); err != nil {
		return err
	}
	if err := checkLifetime("max_token_ttl", &spec.MaxTokenTTL, maxIDTokenTTL); err != nil {
		return err
	}
	return checkExpiry(&spec.ExpiresAt, old == nil, now)
}

func checkDescription(description string) error {
	if utf8.RuneCountInString(description) > maxDescription || !isPrintable(description) {
		return badRequest("description is not up to %d printable characters", maxDescription)
	}
	return nil
}

func checkStatus(status string) error {
	if status != resource.StatusActive && status != resource.StatusDeactivated {
		return badRequest("status is not active or deactivated")
	}
	return nil
}

func checkTags(tags []string) error {
	if len(tags) > maxTags {
		return badRequest("tags: more than %d", maxTags)
	}
	for i, tag := range tags {
		if tag == "" || len(tag) > maxTagLength || !isPrintable(tag) || strings.ContainsAny(tag, " ,") || slices.Contains(tags[:i], tag) {
			return badRequest("tags are different words of 1 to %d printable bytes without space or comma", maxTagLength)
		}
	}
	return nil
}

func checkTicketAudiences(audiences []string) error {
	if len(audiences) > maxTicketAudiences {
		return badRequest("audiences: more than %d", maxTicketAudiences)
	}
	for i, audience := range audiences {
		if !isAudience(audience) || slices.Contains(audiences[:i], audience) {
			return badRequest("audiences are different words of 1 to %d printable bytes without space", maxAudienceLength)
		}
	}
	return nil
}

// checkLifetime also gives the duration of that member its one spelling.
func checkLifetime(member string, text *string, longest time.Duration) error {
	if *text == "" {
		return nil
	}
	life, err := time.ParseDuration(*text)
	if err != nil || life < time.Second || life > longest {
		return badRequest(`%s is not a duration like "720h", between 1s and %s`, member, longest)
	}
	*text = life.Truncate(time.Millisecond).String() // as it is stored
	return nil
}

// checkExpiry refuses an end that is no date, and of something new one in the past:
// that is how an administrator ends what there is.
func checkExpiry(end **time.Time, fresh bool, now time.Time) error {
	if *end == nil {
		return nil
	}
	at := (*end).UTC().Truncate(time.Millisecond) // as it is stored
	if at.Unix() <= 0 || at.After(now.Add(maxLife)) {
		return badRequest("expires_at is not a date of the coming hundred years")
	}
	if fresh && !at.After(now) {
		return badRequest("expires_at is in the past")
	}
	*end = &at
	return nil
}

// orZero and orNil change between what is on the wire and what is stored.
func orZero(at *time.Time) time.Time {
	if at == nil {
		return time.Time{}
	}
	return *at
}

func orNil(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	return &at
}

// ticketOf is a checked spec as it is stored.
func ticketOf(name string, spec resource.TicketSpec, now time.Time) store.Ticket {
	t := store.Ticket{
		ID:          name,
		Description: spec.Description,
		Role:        spec.Role,
		Status:      spec.Status,
		Tags:        spec.Tags,
		Audiences:   spec.Audiences,
		Networks:    spec.Networks,
		MaxUses:     spec.MaxUses,
		ExpiresAt:   orZero(spec.ExpiresAt),
		Closed:      spec.Enrolment == resource.EnrolmentClosed,
		CreatedAt:   now,
		UpdatedAt:   now,
	}
	t.WorkloadTTL, t.MaxTokenTTL = checkedLifetime(spec.WorkloadTTL), checkedLifetime(spec.MaxTokenTTL)
	return t
}

// checkedLifetime is a duration that checkLifetime let through, 0 for none.
func checkedLifetime(text string) time.Duration {
	life, _ := time.ParseDuration(text)
	return life
}

func declaredTicket(t store.Ticket, now time.Time) declared[resource.TicketSpec, resource.TicketStatus] {
	spec := resource.TicketSpec{
		Description: t.Description,
		Status:      t.Status,
		Enrolment:   resource.EnrolmentOpen,
		Role:        t.Role,
		ExpiresAt:   orNil(t.ExpiresAt),
		MaxUses:     t.MaxUses,
		Tags:        append([]string{}, t.Tags...),
		Audiences:   append([]string{}, t.Audiences...),
		Networks:    append([]string{}, t.Networks...),
	}
	if t.Closed {
		spec.Enrolment = resource.EnrolmentClosed
	}
	if t.WorkloadTTL > 0 {
		spec.WorkloadTTL = t.WorkloadTTL.String()
	}
	if t.MaxTokenTTL > 0 {
		spec.MaxTokenTTL = t.MaxTokenTTL.String()
	}
	return declared[resource.TicketSpec, resource.TicketStatus]{
		Object: resource.Ticket{Kind: resource.KindTicket, Name: t.ID, Spec: spec, Status: resource.TicketStatus{
			State: ticketState(t, now), Closed: t.ClosedBecause, Uses: t.Uses, Factory: t.Factory, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
		}},
		version: t.Version,
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
	case t.Closed:
		return resource.StateClosed
	}
	return resource.StateActive
}

func orDefault(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}
