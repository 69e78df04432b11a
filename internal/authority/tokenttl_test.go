package authority

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// TestATokenEndsNoLaterThanItsGround: security.md 36.
func TestATokenEndsNoLaterThanItsGround(t *testing.T) {
	in := func(d time.Duration) *time.Time { at := startTime.Add(d); return &at }
	for name, tt := range map[string]struct {
		ticket resource.TicketSpec
		asked  int
		want   float64 // seconds
	}{
		"nothing bounds it":        {resource.TicketSpec{}, 7200, 7200},
		"the authority's maximum":  {resource.TicketSpec{}, 172800, 4 * 3600},
		"20 s left of the ticket":  {resource.TicketSpec{ExpiresAt: in(20 * time.Second)}, 172800, 20},
		"the default, cut as well": {resource.TicketSpec{ExpiresAt: in(20 * time.Second)}, 0, 20},
		"half a second is none":    {resource.TicketSpec{ExpiresAt: in(20*time.Second + 500*time.Millisecond)}, 60, 20},
		"the workload's end":       {resource.TicketSpec{WorkloadTTL: "30s"}, 60, 30},
		"the ticket's maximum":     {resource.TicketSpec{MaxTokenTTL: "90s"}, 172800, 90},
		"more than the authority":  {resource.TicketSpec{MaxTokenTTL: "48h"}, 172800, 4 * 3600},
		"the least counts":         {resource.TicketSpec{ExpiresAt: in(50 * time.Second), WorkloadTTL: "40s", MaxTokenTTL: "30s"}, 60, 30},
		"less was asked for":       {resource.TicketSpec{ExpiresAt: in(time.Minute), MaxTokenTTL: "45s"}, 10, 10},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, func(c *Config) { c.MaxTokenTTL = 4 * time.Hour })
			m := f.enrol(f.createTicket(tt.ticket).Ticket)
			var body any
			if tt.asked > 0 {
				body = fmt.Sprintf(`{"ttl_seconds":%d}`, tt.asked)
			}
			got := decodeToken(t, m.idToken(body))
			if got["iat"] != float64(startTime.Unix()) || got["exp"] != float64(startTime.Unix())+tt.want {
				t.Errorf("iat %v, exp %v, want %v seconds later", got["iat"], got["exp"], tt.want)
			}
		})
	}
}

// TestNothingIsLeft: where not a second remains the control that leaves none is named.
func TestNothingIsLeft(t *testing.T) {
	soon := startTime.Add(10*time.Second + 400*time.Millisecond)
	for control, spec := range map[string]resource.TicketSpec{
		controlExpiry:      {ExpiresAt: &soon},
		controlWorkloadTTL: {WorkloadTTL: "10.4s"},
	} {
		f := start(t)
		m := f.enrol(f.createTicket(spec).Ticket)
		f.clock.Advance(10*time.Second + 100*time.Millisecond)
		if message := m.idToken(nil).refused(t, 403); !strings.Contains(message, control+": less than a second is left") {
			t.Errorf("%s: %s", control, message)
		}
		if newest := f.newest(); newest.Allowed || newest.TokenID != "" || !strings.HasPrefix(newest.Reason, control) {
			t.Errorf("%s: activity %+v", control, newest)
		}
	}
}

// TestTokenExpiryIsWithinEveryBound for whatever tickets, workloads and times.
func TestTokenExpiryIsWithinEveryBound(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	upTo := func(d time.Duration) time.Duration { return time.Duration(random.Int64N(int64(d))) }
	issued, refused := 0, 0
	for range 200_000 {
		now := startTime.Add(upTo(time.Hour))
		who := store.Enrolled{Workload: store.Workload{CreatedAt: now.Add(-upTo(time.Hour))}}
		var ends []time.Time
		if random.IntN(2) == 0 {
			who.Ticket.ExpiresAt = now.Add(upTo(10*time.Second) - time.Second)
			ends = append(ends, who.Ticket.ExpiresAt)
		}
		if random.IntN(2) == 0 {
			who.Ticket.WorkloadTTL = now.Sub(who.Workload.CreatedAt) + upTo(10*time.Second) - time.Second + time.Millisecond
			ends = append(ends, who.Workload.CreatedAt.Add(who.Ticket.WorkloadTTL))
		}
		if random.IntN(2) == 0 {
			who.Ticket.MaxTokenTTL = time.Second + upTo(10*time.Second)
			ends = append(ends, now.Add(who.Ticket.MaxTokenTTL))
		}
		ttl := time.Second + upTo(maxIDTokenTTL)
		ends = append(ends, now.Add(ttl))
		expires, v := tokenExpiry(who, now, ttl)
		if v != nil {
			refused++
			continue
		}
		issued++
		if expires <= now.Unix() {
			t.Fatalf("%+v at %s: exp %d is not after iat %d", who, now, expires, now.Unix())
		}
		for _, end := range ends {
			if time.Unix(expires, 0).After(end) {
				t.Fatalf("%+v at %s: exp %d is after %s", who, now, expires, end)
			}
		}
	}
	if issued < 1000 || refused < 1000 {
		t.Errorf("%d issued, %d refused: too few to tell", issued, refused)
	}
}

// TestMaxTokenTTLSetting: the configuration is held to what keys are
// published for.
func TestMaxTokenTTLSetting(t *testing.T) {
	for _, wrong := range []time.Duration{-1, time.Second, 48*time.Hour + 1} {
		_, err := New(Config{DataDir: t.TempDir(), URL: "http://127.0.0.1:1", MaxTokenTTL: wrong})
		if err == nil || !strings.Contains(err.Error(), "LANYARD_MAX_TOKEN_TTL") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}
