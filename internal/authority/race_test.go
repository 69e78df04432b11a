package authority

import (
	"fmt"
	"sync"
	"testing"

	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/jose"
)

// raceLanes is how many races are run beside each other, so that they share the
// waiting for the disk.
const raceLanes = 8

// raceForUses is one try: the registrations that will be sent at once, by a ticket
// that has so many uses left.
type raceForUses struct {
	ticket store.Ticket
	secret string
	left   int64
	bodies []map[string]any
}

// TestRaceForTheLastUse: of two, and of many, who ask at once exactly as many get in
// as the ticket has uses left, in each of a thousand tries and some.
func TestRaceForTheLastUse(t *testing.T) {
	f := start(t)
	members := make([]*member, 8)
	for i := range members {
		members[i] = f.newMember()
	}
	var races []raceForUses
	for _, kind := range []struct{ tries, racers, uses, left int64 }{
		{500, 2, 1, 1}, {500, 2, 3, 1}, {20, 8, 2, 2}, {20, 8, 7, 3},
	} {
		for range kind.tries {
			races = append(races, f.prepareRace(members[:kind.racers], kind.uses, kind.left))
		}
	}
	f.insertTickets(races)
	next := make(chan raceForUses)
	var lanes sync.WaitGroup
	for range raceLanes {
		lanes.Go(func() {
			for race := range next {
				if err := f.run(race); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, race := range races {
		next <- race
	}
	close(next)
	lanes.Wait()
}

// prepareRace signs what will be sent.
func (f *fixture) prepareRace(racers []*member, uses, left int64) raceForUses {
	f.t.Helper()
	race := raceForUses{secret: secretTicket + freshJTI(), left: left, ticket: store.Ticket{
		ID: "tk1:" + freshJTI(), Role: "workload", Status: store.TicketActive, MaxUses: uses, CreatedAt: startTime,
	}}
	for _, m := range racers {
		race.bodies = append(race.bodies, m.registration(race.secret))
	}
	return race
}

// insertTickets makes tickets that some have used already.
func (f *fixture) insertTickets(races []raceForUses) {
	f.t.Helper()
	err := f.store.Write(f.t.Context(), func(tx *store.Tx) error {
		for _, race := range races {
			if err := tx.InsertTicket(race.ticket, jose.Digest([]byte(race.secret))); err != nil {
				return err
			}
			for range race.ticket.MaxUses - race.left {
				if ok, err := tx.CountUse(race.ticket.ID); err != nil || !ok {
					return fmt.Errorf("count use: %v, %w", ok, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// run sends all registrations at once, and compares who got in with what the ticket
// counts.
func (f *fixture) run(race raceForUses) error {
	answers := make([]answer, len(race.bodies))
	failures := make([]error, len(race.bodies))
	release := make(chan struct{})
	var racers sync.WaitGroup
	for i, body := range race.bodies {
		racers.Go(func() {
			<-release
			answers[i], failures[i] = f.trySend("POST", registerPath, "", body)
		})
	}
	close(release)
	racers.Wait()
	count := map[int]int64{}
	for i, answer := range answers {
		if failures[i] != nil {
			return failures[i]
		}
		count[answer.status]++
	}
	if count[200] != race.left || count[401] != int64(len(answers))-race.left {
		return fmt.Errorf("answers %v, but %d uses were left", count, race.left)
	}
	stored, err := f.store.Read(f.t.Context()).Ticket(race.ticket.ID)
	if err != nil || stored.Uses != race.ticket.MaxUses {
		return fmt.Errorf("%d uses of %d, %w", stored.Uses, race.ticket.MaxUses, err)
	}
	return nil
}
