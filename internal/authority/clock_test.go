package authority

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

const tenYears = 10 * 365 * 24 * time.Hour

// TestAClockThatJumpsDeletesNothing: security.md 36. Not while the authority runs, nor
// over a restart, nor where it jumps again and again.
func TestAClockThatJumpsDeletesNothing(t *testing.T) {
	for name, jump := range map[string]time.Duration{"forward": tenYears, "back": -tenYears} {
		t.Run(name, func(t *testing.T) {
			f := start(t, func(c *Config) { c.ActivityRetention = 5 * maxDowntime })
			m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
			m.idToken(nil).decode(t, 200, &idTokenResponse{})
			f.clock.Advance(2 * markInterval)
			f.mustTidy()
			f.clock.Jump(jump)
			for range 10 {
				f.mustTidy()
				f.clock.Advance(markInterval)
			}
			for range 3 {
				f.restart()
				f.mustTidy()
				f.clock.Jump(jump / 10)
			}
			for kind, want := range map[string]int{"ticket.create": 1, kindEnrol: 1, kindIDToken: 1} {
				if got := f.count(kind); got != want {
					t.Errorf("%d events of kind %s, want %d", got, kind, want)
				}
			}
			if !strings.Contains(f.logs.String(), "the clock jumped") {
				t.Error("the log does not say so")
			}
			f.wantIntact()
			// Time that passes counts, whatever the clock says.
			for range int(f.config.ActivityRetention/maxDowntime) + 2 {
				f.clock.Advance(maxDowntime)
				f.mustTidy()
			}
			if got := f.count(kindIDToken); got != 0 {
				t.Errorf("%d tokens after their time", got)
			}
		})
	}
}

// TestAClockThatJumpsReadmitsNothing: what was used stays used when the clock comes by
// again, also after a restart; and what is new is served at once.
func TestAClockThatJumpsReadmitsNothing(t *testing.T) {
	for name, jumps := range map[string][]time.Duration{
		"forward and back":              {tenYears, -tenYears},
		"a little":                      {10 * time.Minute, -10 * time.Minute},
		"back and forward":              {-tenYears, tenYears},
		"forward, back and again there": {tenYears, -tenYears, tenYears, -tenYears},
		"a day":                         {24 * time.Hour, -24 * time.Hour},
	} {
		for _, restarts := range []bool{false, true} {
			f := start(t)
			f.used = newRecent[string, struct{}](1) // the database is to tell
			m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
			used := map[int][]string{}
			at := func(stop int) { // the same place on the clock has the same number
				bearer := m.withAssertion()
				m.f.send("POST", idTokenPath, bearer, nil)
				used[stop] = append(used[stop], bearer)
				m.idToken(nil) // so that the first is forgotten by who would spare the database a look
				m.idToken(nil)
			}
			at(0)
			for i, jump := range jumps {
				f.clock.Jump(jump)
				f.mustTidy()
				if restarts {
					f.restart()
					f.used = newRecent[string, struct{}](1)
				}
				stop := (i + 1) % 2
				for _, bearer := range used[stop] {
					if got := f.send("POST", idTokenPath, bearer, nil); got.status != 401 {
						t.Errorf("%s, restarts %v, jump %d: an assertion was used twice: %d", name, restarts, i, got.status)
					}
				}
				at(stop)
			}
			f.clock.Advance(5 * time.Minute)
			if got := m.idToken(nil); got.status != 200 {
				t.Errorf("%s, restarts %v: new ones are refused: %d %s", name, restarts, got.status, got.body)
			}
			f.stop()
		}
	}
}

// TestAStepOfTheClockRefusesNobody where there is room for the ids of an hour.
func TestAStepOfTheClockRefusesNobody(t *testing.T) {
	f := start(t)
	m := f.enrol(f.createTicket(resource.TicketSpec{}).Ticket)
	for range 40 {
		m.idToken(nil).decode(t, 200, &idTokenResponse{})
		f.clock.Advance(time.Minute)
		f.mustTidy()
	}
	f.clock.Jump(-50 * time.Minute)
	f.mustTidy()
	m.idToken(nil).decode(t, 200, &idTokenResponse{})
}

// TestRatesOutliveAJump: it is worth a burst at most, and none has to wait for it.
func TestRatesOutliveAJump(t *testing.T) {
	for _, jump := range []time.Duration{tenYears, -tenYears, time.Hour, -time.Hour} {
		l := newLimiter[netip.Addr](1, 10)
		source, now := netip.MustParseAddr("192.0.2.1"), startTime
		takeAll := func() (n int) {
			for l.take(source, now) == 0 {
				n++
			}
			return n
		}
		if got := takeAll(); got != 10 {
			t.Fatalf("%d at once", got)
		}
		now = now.Add(jump)
		if got := takeAll(); got > 10 {
			t.Errorf("jump of %s: %d at once", jump, got)
		}
		for range 3 {
			now = now.Add(time.Second)
			if got := takeAll(); got != 1 {
				t.Errorf("jump of %s: %d in a second", jump, got)
			}
		}
		now = now.Add(-jump)
		if got := takeAll(); got > 10 {
			t.Errorf("jump of %s and back: %d at once", jump, got)
		}
	}
}

// TestAClockInDoubt is believed again once it is right, or after a day.
func TestAClockInDoubt(t *testing.T) {
	clock := &testClock{now: startTime}
	wall := newWallClock(clock.Now(), time.Time{}, clock.Elapsed)
	look := func(what string, wantJump time.Duration, wantBelieved bool) {
		t.Helper()
		if jumped, believed := wall.look(clock.Now()); jumped != wantJump || believed != wantBelieved {
			t.Errorf("%s: jumped %s, believed %v", what, jumped, believed)
		}
	}
	clock.Advance(time.Hour)
	look("an hour later", 0, true)
	clock.Jump(clockJump)
	look("set right", 0, true)
	clock.Jump(time.Hour)
	look("jumped", time.Hour, false)
	clock.Advance(time.Hour)
	look("an hour after", 0, false)
	clock.Jump(-time.Hour)
	look("back", 0, true)
	clock.Jump(-tenYears)
	look("jumped far back", -tenYears, false)
	clock.Advance(clockDoubt)
	look("a day after", 0, true)
}

// TestAJumpRemovesNoUnusedTicket, nor replaces a signing key.
func TestAJumpRemovesNoUnusedTicket(t *testing.T) {
	f := start(t)
	m, own := f.orchestrator()
	f.declareFactory("ci", resource.TicketFactorySpec{Orchestrators: []string{own.Name}, Ticket: resource.TicketTemplate{ExpiresIn: "1h"}})
	secret := m.mint("ci")
	keys := len(f.listKeys())
	f.clock.Jump(tenYears)
	f.mustTidy()
	f.clock.Jump(-tenYears)
	f.mustTidy()
	f.clock.Advance(5 * time.Minute) // what is signed in the minute before the jump was forgotten there
	f.enrol(secret)
	if got := len(f.listKeys()); got != keys {
		t.Errorf("%d keys, there were %d", got, keys)
	}
}

// TestAClockThatIsWrongAtStart is not believed: what is there is kept, until the clock is
// right, or for a day.
func TestAClockThatIsWrongAtStart(t *testing.T) {
	for name, jump := range map[string]time.Duration{"forward": tenYears, "back": -tenYears} {
		t.Run(name, func(t *testing.T) {
			f := start(t, func(c *Config) { c.ActivityRetention = 5 * maxDowntime })
			m, own := f.orchestrator()
			m.idToken(nil).decode(t, 200, &idTokenResponse{})
			f.declareFactory("ci", resource.TicketFactorySpec{Orchestrators: []string{own.Name}, Ticket: resource.TicketTemplate{ExpiresIn: "1h"}})
			secret := m.mint("ci")
			keys := string(f.keys.JWKS())
			f.stop()
			f.clock.Jump(jump)
			f.serve(strings.TrimPrefix(f.base, "http://"))
			if !strings.Contains(f.logs.String(), "behind the last record, or far ahead") {
				t.Error("the log does not say so")
			}
			for range 10 { // the clock's error comes and goes, and no day of it counts
				f.mustTidy()
				f.stop()
				f.clock.Jump(-jump)
				f.serve(strings.TrimPrefix(f.base, "http://"))
				f.mustTidy()
				f.stop()
				f.clock.Jump(jump)
				f.serve(strings.TrimPrefix(f.base, "http://"))
			}
			f.mustTidy()
			if got := string(f.keys.JWKS()); got != keys {
				t.Errorf("the keys were changed:\n%s\n%s", keys, got)
			}
			if got := f.count(kindIDToken); got != 1 {
				t.Errorf("%d events of a token, want 1", got)
			}
			f.restart()
			f.clock.Jump(-jump)
			f.mustTidy()
			f.clock.Advance(5 * time.Minute)
			f.enrol(secret)
			f.clock.Advance(maxSilence)
			f.mustTidy()
			f.wantIntact()
		})
	}
}

// TestRecordsByAWrongClockDoNotHaveItBelieved: neither from the start, nor after a jump,
// nor for as long as a doubt may last over several starts.
func TestRecordsByAWrongClockDoNotHaveItBelieved(t *testing.T) {
	for name, jumpsWhileItRuns := range map[string]bool{"at start": false, "while it runs": true} {
		t.Run(name, func(t *testing.T) {
			f := start(t)
			m, own := f.orchestrator()
			f.declareFactory("ci", resource.TicketFactorySpec{Orchestrators: []string{own.Name}, Ticket: resource.TicketTemplate{ExpiresIn: "1h"}})
			secret := m.mint("ci")
			keys := string(f.keys.JWKS())
			if !jumpsWhileItRuns {
				f.stop()
			}
			f.clock.Jump(tenYears)
			if !jumpsWhileItRuns {
				f.serve(strings.TrimPrefix(f.base, "http://"))
			}
			for range 3 {
				f.mustTidy()
				m.idToken(nil).decode(t, 200, &idTokenResponse{}) // dated by the wrong clock
				f.restart()
			}
			f.mustTidy()
			if got := string(f.keys.JWKS()); got != keys {
				t.Errorf("the keys were changed:\n%s\n%s", keys, got)
			}
			f.clock.Jump(-tenYears)
			f.restart()
			f.mustTidy()
			if !f.wall.believed() {
				t.Error("the clock is right again, and not believed")
			}
			f.clock.Advance(5 * time.Minute) // what is signed at the jump was forgotten there
			f.enrol(secret)
		})
	}
	t.Run("for a day", func(t *testing.T) {
		f := start(t)
		f.clock.Jump(tenYears)
		for range int(clockDoubt / markInterval) {
			f.restart()
			f.mustTidy()
			if f.wall.believed() {
				t.Fatal("believed within the day")
			}
			f.clock.Advance(markInterval)
			f.mustTidy()
		}
		f.restart()
		f.mustTidy()
		if !f.wall.believed() {
			t.Error("not believed after a day over many starts")
		}
		f.restart()
		if !f.wall.believed() {
			t.Error("not believed at the next start")
		}
	})
}

// TestAClockAtStart is believed where it is not before the last record, nor long after it.
func TestAClockAtStart(t *testing.T) {
	for silence, believed := range map[time.Duration]bool{
		0: true, -clockJump: true, -clockJump - time.Second: false, maxSilence: true, maxSilence + time.Second: false,
	} {
		clock := &testClock{now: startTime}
		clock.Advance(time.Hour)
		wall := newWallClock(startTime.Add(silence), startTime, clock.Elapsed)
		if wall.believed() != believed {
			t.Errorf("%s after the last record: believed %v", silence, !believed)
		}
		if _, stays := wall.look(startTime.Add(silence)); stays != believed {
			t.Errorf("%s after the last record, at the first look: believed %v", silence, !believed)
		}
		clock.Advance(clockDoubt)
		if _, after := wall.look(startTime.Add(silence + clockDoubt)); !after {
			t.Errorf("%s after the last record, a day later: not believed", silence)
		}
	}
}
