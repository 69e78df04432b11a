package authority

import (
	"strings"
	"testing"
	"time"
)

const day = 24 * time.Hour

// jumps are by less and by more than what a start without a doubt would ask about.
var jumps = []time.Duration{10 * time.Minute, 6 * day, 8 * day, -time.Hour}

// inDoubt is an authority whose clock jumped while it ran.
func inDoubt(t *testing.T, jump time.Duration) *fixture {
	t.Helper()
	f := start(t)
	f.clock.Jump(jump)
	f.mustTidy()
	if f.wall.believed() {
		t.Fatalf("a jump by %v is believed", jump)
	}
	return f
}

// serveAgain starts after a stop, over which the clock was set by so much.
func (f *fixture) serveAgain(stopped, set time.Duration) {
	f.t.Helper()
	f.stop()
	f.clock.Jump(set)
	f.clock.Advance(stopped)
	f.serve(strings.TrimPrefix(f.base, "http://"))
	f.mustTidy()
}

// wantDoubtFor advances until the clock is believed, which takes this long.
func (f *fixture) wantDoubtFor(want time.Duration) {
	f.t.Helper()
	var took time.Duration
	for ; !f.wall.believed() && took <= 2*clockDoubt; took += markInterval {
		f.clock.Advance(markInterval)
		f.mustTidy()
	}
	if took != want {
		f.t.Errorf("in doubt for %v, want %v", took, want)
	}
}

// TestADoubtOutlivesARestart: by however much the clock jumped, until it is right again or
// for a day in all.
func TestADoubtOutlivesARestart(t *testing.T) {
	for _, jump := range jumps {
		t.Run(jump.String(), func(t *testing.T) {
			f := inDoubt(t, jump)
			for range 6 {
				f.serveAgain(0, 0)
				f.clock.Advance(markInterval / 2) // in which nothing is noted but by the stop
				f.mustTidy()
			}
			if f.wall.believed() {
				t.Fatal("believed after restarts")
			}
			f.wantDoubtFor(clockDoubt - 3*markInterval)
			f.restart()
			if !f.wall.believed() {
				t.Error("not believed at the start after the day")
			}
		})
		t.Run(jump.String()+" and back", func(t *testing.T) {
			f := inDoubt(t, jump)
			f.clock.Advance(markInterval / 2)
			f.serveAgain(0, 0)
			f.clock.Jump(-jump)
			f.mustTidy()
			if !f.wall.believed() {
				t.Error("right again after a restart, and not believed")
			}
			f = inDoubt(t, jump)
			f.clock.Advance(markInterval / 2)
			f.serveAgain(clockJump, -jump)
			if !f.wall.believed() {
				t.Error("right again over a restart, and not believed")
			}
		})
	}
}

// TestADoubtOutlivesAStop: one over which the clock was set right, too, as far as a stop of
// so long could be a jump of so much, but for what is left of the day.
func TestADoubtOutlivesAStop(t *testing.T) {
	for _, stop := range []time.Duration{time.Hour, 3 * day} {
		for _, jump := range jumps {
			t.Run(stop.String()+" after "+jump.String(), func(t *testing.T) {
				f := inDoubt(t, jump)
				f.clock.Advance(2 * markInterval)
				f.serveAgain(stop, -jump)
				f.wantDoubtFor(clockDoubt - 2*markInterval)
			})
		}
	}
}

// TestAJumpJustBeforeTheEnd is noticed by the end.
func TestAJumpJustBeforeTheEnd(t *testing.T) {
	f := start(t)
	f.clock.Jump(6 * day)
	f.restart()
	if f.wall.believed() {
		t.Error("believed at the next start")
	}
	f.clock.Jump(-6 * day)
	f.restart()
	if !f.wall.believed() {
		t.Error("set right just before the end, and not believed at the next start")
	}
}
