package authority

import "time"

const (
	// clockJump is more than a clock is set by to keep it right.
	clockJump = 5 * time.Minute
	// clockDoubt is how long a clock that jumped is not believed. Somebody who sees that
	// it is wrong can set it right meanwhile.
	clockDoubt = 24 * time.Hour
	// maxSilence is how much later than the last record the clock may say it is at start:
	// longer the authority is rarely away, and a clock that is further ahead is wrong as
	// likely as right.
	maxSilence = 7 * 24 * time.Hour
)

// wallClock watches whether the clock on the wall goes as fast as one that nobody sets.
type wallClock struct {
	elapsed func() time.Duration
	zero    time.Time     // what the clock said when nothing had elapsed, as long as it is right
	doubted time.Duration // what had elapsed when it jumped
	doubt   bool

	noted   bool          // the next start would learn of a doubt
	notedAt time.Duration // what had elapsed then
}

// newWallClock begins to watch a clock that is right, or, where last is not zero, one
// that is to be compared with what it said when something was recorded last. Where it
// says an earlier time now, or one that is later by more than maxSilence, it is in doubt
// as if it had jumped.
func newWallClock(now, last time.Time, elapsed func() time.Duration) *wallClock {
	c := &wallClock{elapsed: elapsed, zero: now.Round(0).Add(-elapsed())}
	if !last.IsZero() && (now.Before(last.Add(-clockJump)) || now.After(last.Add(maxSilence))) {
		c.doubt, c.doubted, c.zero = true, elapsed(), last.Round(0).Add(-elapsed())
	}
	return c
}

// resumeWallClock goes on with a clock that was in doubt for as long as passed, when right
// was what it should have said. It stays in doubt unless it says that now: one that is ahead
// cannot be told from one that is right, after a stop as long.
func resumeWallClock(now, right time.Time, passed time.Duration, elapsed func() time.Duration) *wallClock {
	c := newWallClock(now, time.Time{}, elapsed)
	if now.Round(0).Sub(right).Abs() > clockJump {
		c.doubt, c.doubted, c.zero = true, elapsed()-passed, right.Round(0).Add(-elapsed())
	}
	return c
}

// believed is what the last look returned.
func (c *wallClock) believed() bool { return !c.doubt }

// right is what the clock should say.
func (c *wallClock) right() time.Time { return c.zero.Add(c.elapsed()) }

// doubtedFor is how long the clock has been in doubt.
func (c *wallClock) doubtedFor() time.Duration { return c.elapsed() - c.doubted }

// look compares the clocks. It returns by how much this one is ahead of what it should
// say, or behind, if it has jumped since the last look, and whether it is to be believed.
func (c *wallClock) look(now time.Time) (jumped time.Duration, believed bool) {
	elapsed := c.elapsed()
	now = now.Round(0) // without the reading of a clock that nobody sets, by which Sub would go
	ahead := now.Sub(c.right())
	switch {
	case ahead.Abs() <= clockJump: // and it may drift
		c.doubt, c.zero = false, c.zero.Add(ahead)
	case !c.doubt:
		c.doubt, c.doubted, jumped = true, elapsed, ahead
	case elapsed-c.doubted >= clockDoubt:
		c.doubt, c.zero = false, c.zero.Add(ahead)
	}
	return jumped, !c.doubt
}
