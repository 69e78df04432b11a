package main

import (
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/token/operator"
)

const (
	// callLimit bounds one call of a member.
	callLimit = 5 * time.Second
	// maxHired is how many members a worker has, those that are refused among them.
	maxHired = 28
)

// member is one workload, or who wants to be, and what it was told.
type member struct {
	*operator.Client
	dir    string
	ticket resource.Ticket

	id      string         // of the workload, "" before an answer said it
	tokens  []string       // their jti
	told    map[string]int // allowed calls, by the kind of their activity
	refused bool           // its enrolment
}

func newMember(t *testing.T, base, dir string, ticket resource.Ticket) *member {
	t.Helper()
	m := &member{dir: dir, ticket: ticket, told: map[string]int{}}
	m.open(t, base)
	return m
}

// open makes the member's client.
func (m *member) open(t *testing.T, base string) {
	t.Helper()
	secret, err := operator.NewTicket(m.ticket.Ticket)
	if err == nil {
		m.Client, err = operator.New(operator.Config{Base: base, StateDir: m.dir, Ticket: secret, Timeout: callLimit})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// thumbprint is that of the member's key (RFC 7638).
func (m *member) thumbprint(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwk.ParseKey(text, jwk.WithPEM(true))
	if err != nil {
		t.Fatal(err)
	}
	digest, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(digest)
}

// enrol enrols the member, or finds out that it has been.
func (m *member) enrol(ctx context.Context) error {
	enrolment, err := m.Enrol(ctx)
	if err != nil {
		m.refused = errors.Is(err, token.ErrNotEnrolled)
		return err
	}
	if m.id != "" && m.id != enrolment.WorkloadID {
		return fmt.Errorf("workload %s has become %s", m.id, enrolment.WorkloadID)
	}
	m.id = enrolment.WorkloadID
	return nil
}

func (m *member) fetch(ctx context.Context, audience string) error {
	got, err := m.Fetch(ctx, token.Request{Identity: "member", Audience: audience})
	if err == nil {
		m.tokens = append(m.tokens, got.ID())
	}
	m.count("id_token", err == nil)
	return err
}

func (m *member) read(ctx context.Context) error {
	got, err := m.Secret(ctx, secretName, true)
	if err == nil && got.Reveal() != secretContent {
		err = fmt.Errorf("the secret is %q", got.Reveal())
	}
	m.count("secret", err == nil)
	return err
}

func (m *member) renew(ctx context.Context) error {
	renewed, err := m.RenewKey(ctx, 0)
	m.count("workload_key", err == nil && renewed)
	return err
}

func (m *member) count(kind string, allowed bool) {
	if allowed {
		m.told[kind]++
	}
}

// crowd is many members that do one thing after another, until it is told to stop.
type crowd struct {
	t       *testing.T
	base    string
	dir     string
	tickets []resource.Ticket

	stop    context.CancelFunc
	workers sync.WaitGroup

	mu      sync.Mutex
	members []*member
}

// startCrowd starts workers, each with members and randomness of its own.
func startCrowd(t *testing.T, base string, tickets []resource.Ticket, seed uint64, workers int) *crowd {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	c := &crowd{t: t, base: base, dir: t.TempDir(), tickets: tickets, stop: stop}
	for number := range workers {
		random := rand.New(rand.NewPCG(seed, uint64(number)))
		c.workers.Go(func() { c.work(ctx, random) })
	}
	t.Cleanup(func() { c.finish() })
	return c
}

// finish ends the work and returns everybody.
func (c *crowd) finish() []*member {
	c.stop()
	c.workers.Wait()
	return c.members
}

func (c *crowd) work(ctx context.Context, random *rand.Rand) {
	var mine []*member
	for hired := 0; ctx.Err() == nil; {
		if hired < maxHired && (len(mine) == 0 || random.IntN(4) == 0) {
			hired++
			mine = append(mine, c.recruit(random))
		}
		if len(mine) == 0 {
			return // everybody was refused
		}
		i := random.IntN(len(mine))
		switch err := step(ctx, mine[i], random); {
		case err == nil, ctx.Err() != nil:
		case errors.Is(err, token.ErrUnreachable):
			time.Sleep(10 * time.Millisecond) // as nobody asks a dead one all the time
		case mine[i].id == "" && mine[i].refused: // the ticket is used up
			mine = append(mine[:i], mine[i+1:]...)
		default:
			c.t.Errorf("workload %q of ticket %s: %v", mine[i].id, mine[i].ticket.Name, err)
			return
		}
	}
}

// recruit makes a member that has not enrolled yet.
func (c *crowd) recruit(random *rand.Rand) *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	dir := filepath.Join(c.dir, fmt.Sprint(len(c.members)))
	m := newMember(c.t, c.base, dir, c.tickets[random.IntN(len(c.tickets))])
	c.members = append(c.members, m)
	return m
}

// step has a member do something.
func step(ctx context.Context, m *member, random *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if m.id == "" {
		return m.enrol(ctx)
	}
	switch random.IntN(4) {
	case 0:
		return m.renew(ctx)
	case 1:
		return m.read(ctx)
	default:
		return m.fetch(ctx, fmt.Sprintf("https://%d.internal", random.IntN(3)))
	}
}
