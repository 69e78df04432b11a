package admin

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// atStart is how many events the first start has: the keys that it makes.
const atStart = 3

func TestActivity(t *testing.T) {
	client := startAuthority(t)
	const n = resource.MaxPage + 5
	for range n {
		if _, err := client.CreateTicket(t.Context(), resource.TicketSpec{}); err != nil {
			t.Fatal(err)
		}
	}
	filter := ActivityFilter{Kind: "ticket.create", Outcome: resource.OutcomeAllowed, Source: "127.0.0.1", Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Hour)}
	recent, err := client.RecentActivity(t.Context(), filter, n-1)
	if err != nil || len(recent) != n-1 || recent[0].Sequence != atStart+2 || recent[n-2].Sequence != atStart+n {
		t.Errorf("recent: %d, %v", len(recent), err)
	}
	var streamed []int64
	err = client.StreamActivity(t.Context(), filter, atStart+3, false, func(a resource.Activity) error {
		streamed = append(streamed, a.Sequence)
		return nil
	})
	if err != nil || len(streamed) != n-3 || streamed[0] != atStart+4 {
		t.Errorf("streamed %v, %v", streamed, err)
	}
	for name, filter := range map[string]ActivityFilter{
		"kind": {Kind: "x"}, "outcome": {Outcome: resource.OutcomeRefused}, "source": {Source: "::1"}, "admin": {Admin: "x"},
		"ticket": {Ticket: "x"}, "workload": {Workload: "x"}, "since": {Since: time.Now().Add(time.Hour)}, "until": {Until: time.Now().Add(-time.Hour)},
	} {
		if found, err := client.RecentActivity(t.Context(), filter, 10); err != nil || len(found) != 0 {
			t.Errorf("%s: %d, %v", name, len(found), err)
		}
	}
	chain, err := client.VerifyActivity(t.Context())
	if err != nil || !chain.Intact || chain.Last != atStart+n {
		t.Errorf("chain %+v, %v", chain, err)
	}
	var status *StatusError
	err = client.StreamActivity(t.Context(), ActivityFilter{Source: "nowhere"}, 0, false, nil)
	if !errors.As(err, &status) || status.Code != 400 || !strings.Contains(status.Message, "source") {
		t.Errorf("bad filter: %v", err)
	}
}

func TestFollowActivity(t *testing.T) {
	client := startAuthority(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	if _, err := client.CreateTicket(ctx, resource.TicketSpec{}); err != nil {
		t.Fatal(err)
	}
	var seen int64
	err := client.StreamActivity(ctx, ActivityFilter{}, atStart, true, func(a resource.Activity) error {
		if seen = a.Sequence; seen == atStart+3 {
			stop()
			return nil
		}
		_, err := client.CreateTicket(ctx, resource.TicketSpec{})
		return err
	})
	if !errors.Is(err, context.Canceled) || seen != atStart+3 {
		t.Errorf("seen %d, %v", seen, err)
	}
}
