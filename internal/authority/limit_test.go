package authority

import (
	"io"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

func TestSourceLimits(t *testing.T) {
	l := newLimiter[netip.Addr](1, 2)
	now := startTime
	take := func(peer string, want time.Duration) {
		t.Helper()
		if got := l.take(sourceUnit(plainAddr(netip.MustParseAddrPort(peer).Addr())), now); got != want {
			t.Errorf("%s waits %s, want %s", peer, got, want)
		}
	}
	take("192.0.2.1:1", 0)
	take("192.0.2.1:2", 0)
	take("192.0.2.1:3", time.Second)
	take("192.0.2.1:4", time.Second) // refused requests cost nothing
	take("[::ffff:192.0.2.1]:4", time.Second)
	take("192.0.2.2:1", 0)
	take("[2001:db8::1]:1", 0)
	take("[2001:db8::2]:1", 0)
	take("[2001:db8::3%eth0]:1", time.Second)
	take("[2001:db8:0:1::1]:1", 0)
	now = now.Add(time.Second)
	take("192.0.2.1:5", 0)
	take("192.0.2.1:5", time.Second)
}

func TestAllowancesAreBounded(t *testing.T) {
	l := newLimiter[netip.Addr](1, 1)
	l.take(netip.MustParseAddr("192.0.2.1"), startTime)
	for i := range 2 * maxAllowances {
		l.take(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), startTime)
	}
	if n := len(l.allowances.known); n != maxAllowances {
		t.Errorf("%d are remembered", n)
	}
	if wait := l.take(netip.MustParseAddr("192.0.2.1"), startTime); wait != 0 {
		t.Error("the quiet one was not forgotten")
	}
}

func TestTooManyRequests(t *testing.T) {
	f := start(t, func(c *Config) { c.RatePerSecond, c.RateBurst = 0.5, 3 })
	for range 3 {
		if got := f.send("GET", jwksPath, "", nil); got.status != 200 {
			t.Fatalf("status %d", got.status)
		}
	}
	wait := f.send("GET", jwksPath, "", nil).retryAfter(t)
	if wait < 2*time.Second {
		t.Errorf("is to wait %s for one in two seconds", wait)
	}
	if got := f.send("GET", "/metrics", "", nil).body; !strings.Contains(got, `lanyard_authority_rate_limited_total{by="source"} 1`) {
		t.Errorf("the metric does not count it:\n%s", got)
	}
	if got := f.send("GET", "/healthz", "", nil); got.status != 200 {
		t.Errorf("health is limited: %d", got.status)
	}
	f.clock.Advance(wait)
	if got := f.send("GET", jwksPath, "", nil); got.status != 200 {
		t.Errorf("after Retry-After: %d", got.status)
	}
}

// retryAfter checks that the answer is a 429 and returns how long it has one wait.
func (a answer) retryAfter(t *testing.T) time.Duration {
	t.Helper()
	a.refused(t, 429)
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		t.Fatalf("Retry-After %q", a.header.Get("Retry-After"))
	}
	return time.Duration(seconds) * time.Second
}

// TestAWorkloadHasARate at whatever it asks for, and is refused before anything is
// written; others at its address go on.
func TestAWorkloadHasARate(t *testing.T) {
	ask := map[string]func(m *member, ticket, assertion string) answer{
		"id_token": func(m *member, _, assertion string) answer {
			return m.f.send("POST", idTokenPath, "Bearer "+assertion, nil)
		},
		"secret": func(m *member, _, assertion string) answer {
			return m.f.send("GET", "/operator/v1/secret/none", "Bearer "+assertion, nil)
		},
		"invite": func(m *member, _, assertion string) answer {
			return m.f.send("POST", invitePath, "Bearer "+assertion, `{"ticket_factory_id":"none"}`)
		},
		"key": func(m *member, _, assertion string) answer {
			return m.f.send("POST", keyPath, "Bearer "+assertion, `{}`)
		},
		"enrolment": func(m *member, ticket, _ string) answer { return m.register(ticket) },
	}
	for name, ask := range ask {
		t.Run(name, func(t *testing.T) {
			f := start(t, func(c *Config) { c.WorkloadRatePerSecond, c.WorkloadRateBurst = 0.5, 3 })
			ticket := f.createTicket(resource.TicketSpec{}).Ticket
			m, other := f.enrol(ticket), f.enrol(ticket)
			for range 3 {
				if got := ask(m, ticket, m.assertion()); got.status == 429 {
					t.Fatal("refused within the burst")
				}
			}
			before, assertion := len(f.allEvents()), m.assertion()
			wait := ask(m, ticket, assertion).retryAfter(t)
			if wait < 2*time.Second || wait > 3*time.Second {
				t.Errorf("is to wait %s for one in two seconds", wait)
			}
			if now := len(f.allEvents()); now != before {
				t.Errorf("%d events were written", now-before)
			}
			other.idToken(nil).decode(t, 200, &idTokenResponse{})
			if got := f.send("GET", "/metrics", "", nil).body; !strings.Contains(got, `lanyard_authority_rate_limited_total{by="workload"} 1`) {
				t.Errorf("the metric does not count it:\n%s", got)
			}
			f.clock.Advance(wait)
			if got := ask(m, ticket, assertion); got.status == 429 || got.status == 401 {
				t.Errorf("after Retry-After: %d %s", got.status, got.body)
			}
		})
	}
}

// TestStrangersUseUpNoWorkloadsRate, whether they name a workload or repeat what it
// has sent.
func TestStrangersUseUpNoWorkloadsRate(t *testing.T) {
	f := start(t, func(c *Config) { c.WorkloadRatePerSecond, c.WorkloadRateBurst = 1e-6, 3 })
	ticket := f.createTicket(resource.TicketSpec{}).Ticket
	m := f.enrol(ticket)
	registration := m.registration(ticket)
	f.send("POST", registerPath, "", registration).decode(t, 200, &registerResponse{}) // the first of three
	used := m.assertion()
	f.send("POST", idTokenPath, "Bearer "+used, nil).decode(t, 200, &idTokenResponse{}) // the second
	forger := f.newMember()
	forger.id = m.id
	for range 10 {
		f.send("POST", idTokenPath, "Bearer "+used, nil).refused(t, 401)
		f.send("POST", registerPath, "", registration).refused(t, 401)
		forger.idToken(nil).refused(t, 401)
		m.idToken(nil, claims{"aud": "https://elsewhere.example"}).refused(t, 401)
	}
	m.idToken(nil).decode(t, 200, &idTokenResponse{}) // the third
	m.idToken(nil).retryAfter(t)
}

// TestAnAssertionCountsOnce against the workload's rate: also where the body, or the
// lack of one, makes the request malformed, and while another request with it lasts.
func TestAnAssertionCountsOnce(t *testing.T) {
	for name, ask := range map[string]func(m *member, assertion string) answer{
		"id_token": func(m *member, by string) answer { return m.f.send("POST", idTokenPath, "Bearer "+by, "nonsense") },
		"no audience": func(m *member, by string) answer {
			return m.f.send("POST", idTokenPath, "Bearer "+by, `{"audience":[""]}`)
		},
		"invite": func(m *member, by string) answer { return m.f.send("POST", invitePath, "Bearer "+by, "{}") },
		"key":    func(m *member, by string) answer { return m.f.send("POST", keyPath, "Bearer "+by, "{}") },
		"too long": func(m *member, by string) answer {
			return m.f.send("POST", keyPath, "Bearer "+by, strings.Repeat(" ", maxRegisterBytes+1))
		},
		"no JSON": func(m *member, by string) answer {
			return m.f.send("POST", invitePath, "Bearer "+by, "{}", "Content-Type", "text/plain")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, func(c *Config) { c.WorkloadRatePerSecond, c.WorkloadRateBurst = 1e-6, 2 })
			m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
			recorded := m.assertion()
			if got := ask(m, recorded); got.status != 400 && got.status != 413 && got.status != 415 {
				t.Fatalf("status %d", got.status)
			}
			for range 10 {
				ask(m, recorded).refused(t, 401)
			}
			m.idToken(nil).decode(t, 200, &idTokenResponse{}) // the second
		})
	}
}

// TestAnAssertionInFlightCountsOnce: the body of the first request is yet to come.
func TestAnAssertionInFlightCountsOnce(t *testing.T) {
	f := start(t, func(c *Config) { c.WorkloadRatePerSecond, c.WorkloadRateBurst = 1e-6, 2 })
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	authorization := m.withAssertion()
	body, rest := io.Pipe()
	waits := httptest.NewRequest("POST", idTokenPath, body)
	waits.Header.Set("Authorization", authorization)
	waits.Header.Set("Content-Type", "application/json")
	recorder, done := httptest.NewRecorder(), make(chan struct{})
	go func() {
		defer close(done)
		f.Handler().ServeHTTP(recorder, waits)
	}()
	if _, err := io.WriteString(rest, "{"); err != nil { // which is read by who let the workload in
		t.Fatal(err)
	}
	for range 10 {
		f.send("POST", idTokenPath, authorization, nil).refused(t, 401)
	}
	if _, err := io.WriteString(rest, "}"); err != nil {
		t.Fatal(err)
	}
	rest.Close()
	<-done
	if recorder.Code != 200 {
		t.Errorf("the first is answered with %d %s", recorder.Code, recorder.Body)
	}
	m.idToken(nil).decode(t, 200, &idTokenResponse{}) // the second
}
