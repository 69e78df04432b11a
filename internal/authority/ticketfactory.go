package authority

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// maxOrchestrators bounds who may use a factory.
const maxOrchestrators = 64

// ticketFactories is the kind of templates that orchestrators mint tickets from.
func (a *Authority) ticketFactories() kind[resource.TicketFactorySpec, resource.TicketFactoryStatus] {
	return kind[resource.TicketFactorySpec, resource.TicketFactoryStatus]{
		name: resource.KindTicketFactory, path: resource.TicketFactoriesPath, noun: "ticket_factory",
		newName: func() (string, error) { return randomID(a.random, prefixFactory) },
		check:   checkTicketFactorySpec,
		mark:    markFactory,
		show: func(q store.Queries, name string, _ time.Time) (declared[resource.TicketFactorySpec, resource.TicketFactoryStatus], error) {
			factory, err := q.TicketFactory(name)
			if err != nil {
				return declared[resource.TicketFactorySpec, resource.TicketFactoryStatus]{}, err
			}
			return declaredTicketFactory(factory)
		},
		list: func(q store.Queries, after string, limit int, _ time.Time) ([]declared[resource.TicketFactorySpec, resource.TicketFactoryStatus], error) {
			factories, err := q.TicketFactories(after, limit)
			all := make([]declared[resource.TicketFactorySpec, resource.TicketFactoryStatus], len(factories))
			for i, factory := range factories {
				one, declareErr := declaredTicketFactory(factory)
				all[i], err = one, errors.Join(err, declareErr)
			}
			return all, err
		},
		insert: func(tx *store.Tx, name string, spec resource.TicketFactorySpec, now time.Time) (minted, error) {
			factory, err := ticketFactoryOf(tx.Queries, name, spec, now)
			if err != nil {
				return minted{}, err
			}
			return minted{}, tx.InsertTicketFactory(factory)
		},
		update: func(tx *store.Tx, name string, spec resource.TicketFactorySpec, now time.Time) error {
			factory, err := ticketFactoryOf(tx.Queries, name, spec, now)
			if err != nil {
				return err
			}
			return tx.UpdateTicketFactory(factory)
		},
		remove: (*store.Tx).DeleteTicketFactory,
	}
}

func markFactory(event *store.Event, name string) {
	event.Resource = resource.KindTicketFactory + "/" + name
}

// checkTicketFactorySpec refuses what is wrong with a spec, and puts in what was left
// out.
func checkTicketFactorySpec(spec, old *resource.TicketFactorySpec, now time.Time) error {
	spec.Status = orDefault(spec.Status, resource.StatusActive)
	if old != nil {
		spec.Minting = orDefault(spec.Minting, old.Minting) // as of a ticket's enrolment
	}
	spec.Minting = orDefault(spec.Minting, resource.MintingOpen)
	spec.Orchestrators = append([]string{}, spec.Orchestrators...)
	if err := checkDescription(spec.Description); err != nil {
		return err
	}
	if err := checkStatus(spec.Status); err != nil {
		return err
	}
	if spec.Minting != resource.MintingOpen && spec.Minting != resource.MintingClosed {
		return badRequest("minting is not open or closed")
	}
	if len(spec.Orchestrators) > maxOrchestrators {
		return badRequest("orchestrators: more than %d", maxOrchestrators)
	}
	for i, name := range spec.Orchestrators {
		if !isTicketName(name) && !hasForm(name, prefixWorkload, idLength) || slices.Contains(spec.Orchestrators[:i], name) {
			return badRequest("orchestrators are different names of tickets and ids of workloads")
		}
	}
	if err := checkTemplate(&spec.Ticket, now); err != nil {
		return badRequest("ticket: %s", err)
	}
	return nil
}

func isTicketName(name string) bool {
	return chosenName.MatchString(name) || hasForm(name, prefixTicket, idLength)
}

// checkTemplate holds a template to what holds for tickets. It makes no orchestrators:
// one could make others, without end and without an administrator.
func checkTemplate(t *resource.TicketTemplate, now time.Time) error {
	if t.Role == resource.RoleOrchestrator {
		return badRequest("role is not workload or agent; orchestrators get their tickets from an administrator")
	}
	if err := checkLifetime("expires_in", &t.ExpiresIn, maxLifetime); err != nil {
		return err
	}
	spec := specOfTemplate(*t, now)
	if err := checkTicketSpec(&spec, nil, now); err != nil {
		return err
	}
	t.Role, t.WorkloadTTL, t.MaxTokenTTL = spec.Role, spec.WorkloadTTL, spec.MaxTokenTTL
	t.Tags, t.Audiences, t.Networks = spec.Tags, spec.Audiences, spec.Networks
	return nil
}

// specOfTemplate is the spec of a ticket made now.
func specOfTemplate(t resource.TicketTemplate, now time.Time) resource.TicketSpec {
	spec := resource.TicketSpec{
		Description: t.Description,
		Status:      resource.StatusActive,
		Enrolment:   resource.EnrolmentOpen,
		Role:        t.Role,
		MaxUses:     t.MaxUses,
		WorkloadTTL: t.WorkloadTTL,
		MaxTokenTTL: t.MaxTokenTTL,
		Tags:        t.Tags,
		Audiences:   t.Audiences,
		Networks:    t.Networks,
	}
	if life, err := time.ParseDuration(t.ExpiresIn); err == nil {
		at := now.Add(life)
		spec.ExpiresAt = &at
	}
	return spec
}

// ticketFactoryOf is a checked spec as it is stored, if what it names is there: a
// name misspelt is found here, and not when an orchestrator is refused.
func ticketFactoryOf(q store.Queries, name string, spec resource.TicketFactorySpec, now time.Time) (store.TicketFactory, error) {
	if err := checkListsExist(q, spec.Ticket.Networks); err != nil {
		return store.TicketFactory{}, badRequest("ticket: %s", err)
	}
	for _, orchestrator := range spec.Orchestrators {
		if err := checkOrchestratorExists(q, orchestrator); err != nil {
			return store.TicketFactory{}, err
		}
	}
	template, err := json.Marshal(spec.Ticket)
	if err != nil {
		return store.TicketFactory{}, fmt.Errorf("write ticket factory: %w", err)
	}
	return store.TicketFactory{
		Name:          name,
		Description:   spec.Description,
		Status:        spec.Status,
		Closed:        spec.Minting == resource.MintingClosed,
		Orchestrators: spec.Orchestrators,
		Template:      string(template),
		Networks:      spec.Ticket.Networks,
		CreatedAt:     now,
		UpdatedAt:     now,
	}, nil
}

func checkOrchestratorExists(q store.Queries, name string) error {
	var err error
	if isTicketName(name) {
		_, err = q.Ticket(name)
	} else {
		_, err = q.Workload(name)
	}
	if errors.Is(err, store.ErrNotFound) {
		return badRequest("orchestrators: there is no ticket or workload %q", name)
	}
	return err
}

func templateOf(f store.TicketFactory) (resource.TicketTemplate, error) {
	var t resource.TicketTemplate
	if err := json.Unmarshal([]byte(f.Template), &t); err != nil {
		return t, fmt.Errorf("read ticket factory %s: %w", f.Name, err)
	}
	return t, nil
}

func declaredTicketFactory(f store.TicketFactory) (declared[resource.TicketFactorySpec, resource.TicketFactoryStatus], error) {
	template, err := templateOf(f)
	minting := resource.MintingOpen
	if f.Closed {
		minting = resource.MintingClosed
	}
	return declared[resource.TicketFactorySpec, resource.TicketFactoryStatus]{
		Object: resource.TicketFactory{
			Kind: resource.KindTicketFactory, Name: f.Name,
			Spec: resource.TicketFactorySpec{
				Description: f.Description, Status: f.Status, Minting: minting,
				Orchestrators: append([]string{}, f.Orchestrators...), Ticket: template,
			},
			Status: resource.TicketFactoryStatus{Closed: f.ClosedBecause, Minted: f.Minted, CreatedAt: f.CreatedAt, UpdatedAt: f.UpdatedAt},
		},
		version: f.Version,
	}, err
}
