package main

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin"
	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

const (
	secretName    = "ledger"
	secretContent = "correct horse"

	workers = 8
	maxUses = 60 // of each ticket: together fewer than want to

	kills     = 8
	loadLimit = 9 * time.Second       // after which nobody is killed any more
	lifetime  = 100                   // requests between two kills, at most
	maxMoment = 20 * time.Millisecond // about as long as a request takes
)

// seedOf returns the seed that a failed run printed, or one of now.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv("LANYARD_TEST_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("LANYARD_TEST_SEED=%d", seed)
	return seed
}

// TestAuthorityKilledUnderLoad kills the process while a crowd of clients enrols,
// fetches tokens, reads a secret and renews keys, and starts it again over the same
// database. What a client was told must be known afterwards, and nothing is accepted
// or counted twice.
func TestAuthorityKilledUnderLoad(t *testing.T) {
	seed := seedOf(t)
	random := rand.New(rand.NewPCG(seed, workers))
	m := newMortal(t)
	spec, _ := json.Marshal(map[string]string{"content": secretContent})
	kind, _ := resource.FindKind(resource.KindSecret)
	declaration := resource.Declaration[json.RawMessage]{Kind: resource.KindSecret, Name: secretName, Spec: spec}
	if _, _, err := m.admin.Apply(t.Context(), kind, declaration); err != nil {
		t.Fatal(err)
	}
	var tickets []resource.Ticket
	for range 3 {
		ticket, err := m.admin.CreateTicket(t.Context(), resource.TicketSpec{MaxUses: maxUses})
		if err != nil {
			t.Fatal(err)
		}
		tickets = append(tickets, ticket)
	}

	base := m.url + "/operator"
	c := startCrowd(t, base, tickets, seed, workers)
	began, killed := time.Now(), 0
	for ; killed < kills && time.Since(began) < loadLimit; killed++ {
		m.killAfter(1+random.IntN(lifetime), time.Duration(random.Int64N(int64(maxMoment))))
		m.start()
		if err := m.verifyChain(); err != nil {
			t.Errorf("after a restart: %v", err)
		}
		m.replay()
	}
	members := c.finish()
	t.Logf("killed %d times", killed)

	for _, one := range members {
		if one.refused {
			continue
		}
		if err := one.enrol(t.Context()); err != nil && !one.refused {
			t.Errorf("workload %q: %v", one.id, err)
		}
		if one.id != "" {
			if err := one.fetch(t.Context(), ""); err != nil {
				t.Errorf("workload %s does not go on: %v", one.id, err)
			}
		}
	}
	checkWhatWasTold(t, m, members)
	checkTickets(t, m, tickets, members)
	checkSameAgain(t, base, members)
	checkTickets(t, m, tickets, members)
	if err := m.verifyChain(); err != nil {
		t.Error(err)
	}
	m.wantNoComplaint()
}

// paths are those of calls that a workload signs, by the kind of their activity.
func paths() map[string]string {
	return map[string]string{"id_token": "/operator/v1/id_token", "secret": "/operator/v1/secret/" + secretName, "workload_key": "/operator/v1/key"}
}

// record is the activity, sorted.
type record struct {
	enrolled map[string]time.Time      // the first time, by workload
	issued   map[string]int            // by token
	allowed  map[string]map[string]int // by kind and workload
}

func readRecord(t *testing.T, m *mortal) record {
	t.Helper()
	r := record{map[string]time.Time{}, map[string]int{}, map[string]map[string]int{}}
	err := m.admin.StreamActivity(t.Context(), admin.ActivityFilter{Outcome: "allowed"}, 0, false, func(e resource.Activity) error {
		if _, again := r.enrolled[e.Workload]; e.Kind == "enrol" && !again {
			r.enrolled[e.Workload] = e.At
		}
		if e.Kind == "id_token" {
			r.issued[e.TokenID]++
		}
		if r.allowed[e.Kind] == nil {
			r.allowed[e.Kind] = map[string]int{}
		}
		r.allowed[e.Kind][e.Workload]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// checkWhatWasTold looks in the inventory and the activity for everything that a
// client was told.
func checkWhatWasTold(t *testing.T, m *mortal, members []*member) {
	t.Helper()
	inventory, byKey := inventoryOf(t, m)
	r := readRecord(t, m)
	told := 0
	for _, one := range members {
		if one.id == "" {
			if made := byKey[one.thumbprint(t)]; made != "" {
				t.Errorf("an enrolment by ticket %s was refused, and made workload %s", one.ticket.Name, made)
			}
			continue
		}
		if of := inventory[one.id].Status.Ticket; of != one.ticket.Name {
			t.Errorf("workload %s is of ticket %q in the inventory, want %s", one.id, of, one.ticket.Name)
		}
		for _, id := range one.tokens {
			if r.issued[id] != 1 {
				t.Errorf("the activity has token %s of %s %d times", id, one.id, r.issued[id])
			}
		}
		for kind, count := range one.told {
			told += count
			if r.allowed[kind][one.id] < count {
				t.Errorf("the activity has %d events of kind %s of workload %s, which was told of %d", r.allowed[kind][one.id], kind, one.id, count)
			}
		}
	}
	for id, w := range inventory {
		// A later enrolment with the same key would not make up for the first one's event.
		if at, known := r.enrolled[id]; !known || at.After(w.Status.EnrolledAt) {
			t.Errorf("workload %s is in the inventory, and the activity does not know how it came there", id)
		}
	}
	for kind, path := range paths() {
		allowed := 0
		for _, count := range r.allowed[kind] {
			allowed += count
		}
		if sent := m.assertions(path); allowed > sent {
			t.Errorf("%s: %d calls were allowed by %d assertions", kind, allowed, sent)
		}
	}
	t.Logf("%d members, %d workloads, %d calls told of, %d tokens issued", len(members), len(inventory), told, len(r.issued))
	if told < workers || len(inventory) < workers {
		t.Error("the load was none")
	}
}

func inventoryOf(t *testing.T, m *mortal) (byID map[string]resource.Workload, byKey map[string]string) {
	t.Helper()
	all, err := m.admin.Workloads(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	byID, byKey = map[string]resource.Workload{}, map[string]string{}
	for _, w := range all {
		byID[w.Name], byKey[w.Status.KeyThumbprint] = w, w.Name
	}
	return byID, byKey
}

// checkTickets compares the uses of each ticket with the workloads that it made.
func checkTickets(t *testing.T, m *mortal, tickets []resource.Ticket, members []*member) {
	t.Helper()
	inventory, _ := inventoryOf(t, m)
	made, told := map[string]int64{}, map[string]int64{}
	for _, w := range inventory {
		made[w.Status.Ticket]++
	}
	for _, one := range members {
		if one.id != "" {
			told[one.ticket.Name]++
		}
	}
	for _, ticket := range tickets {
		now, err := m.admin.Ticket(t.Context(), ticket.Name)
		if err != nil {
			t.Fatal(err)
		}
		uses := now.Status.Uses
		if uses != made[ticket.Name] || uses > maxUses || uses < told[ticket.Name] {
			t.Errorf("ticket %s was used %d times of %d, made %d workloads and told %d clients so",
				ticket.Name, uses, maxUses, made[ticket.Name], told[ticket.Name])
		}
	}
}

// checkSameAgain enrols everybody anew with ticket and key: that is the same workload.
func checkSameAgain(t *testing.T, base string, members []*member) {
	t.Helper()
	for _, one := range members {
		if err := one.Close(); err != nil {
			t.Error(err)
		}
		if one.id == "" {
			continue
		}
		if err := os.Remove(filepath.Join(one.dir, "enrolment.json")); err != nil {
			t.Fatal(err)
		}
		one.open(t, base)
		if err := one.enrol(t.Context()); err != nil {
			t.Errorf("the ticket and the key of workload %s: %v", one.id, err)
		}
		if err := one.Close(); err != nil {
			t.Error(err)
		}
	}
}
