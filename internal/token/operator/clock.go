package operator

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lanyardhq/lanyard/internal/token"
)

const (
	// dateResolution is how exact a Date field and a network's delay let a clock
	// be read: a smaller difference is none.
	dateResolution = 2 * time.Second
	// clockTolerance is the difference from which on a refusal may be due to the
	// clock; the authority allows a minute.
	clockTolerance = 5 * time.Second
	// maxCorrection is how far off this host's clock is believed to be. Beyond,
	// somebody should look.
	maxCorrection = 24 * time.Hour
)

// ClockError says that this host's clock and the authority's are too far apart to
// be corrected for.
type ClockError struct {
	Local, Authority time.Time
}

// Error names both clocks.
func (e *ClockError) Error() string {
	return fmt.Sprintf("this host's clock says %s, the authority's %s: set the one that is wrong",
		e.Local.UTC().Format(time.RFC3339), e.Authority.UTC().Format(time.RFC3339))
}

// Is makes it a token.ErrClock.
func (e *ClockError) Is(target error) bool { return target == token.ErrClock }

func isClockError(err error) bool {
	var e *ClockError
	return errors.As(err, &e)
}

// clock tells the authority's time, as far as its answers' Date fields have told.
// The correction rests on the monotonic clock, so that setting this host's clock
// right does not spoil it.
type clock struct {
	now func() time.Time

	mu     sync.Mutex
	local  time.Time // when the last correction was learnt; zero if none is needed
	remote time.Time // what the authority's clock said then
}

// authority returns the authority's time of now.
func (c *clock) authority() time.Time {
	return c.at(c.now())
}

// at returns what the authority's clock says at a reading of this host's clock.
func (c *clock) at(local time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.local.IsZero() {
		return local
	}
	return c.remote.Add(local.Sub(c.local))
}

// translate turns a time by the authority's clock into one by this host's.
func (c *clock) translate(remote, received time.Time) time.Time {
	return received.Add(remote.Sub(c.at(received)))
}

// learn takes the Date of an answer to a request sent and received at these
// times. It returns by how much the time assumed so far was wrong, and a
// *ClockError if the difference is too large to be corrected.
func (c *clock) learn(date, sent, received time.Time) (time.Duration, error) {
	middle := sent.Add(received.Sub(sent) / 2)
	date = date.Add(time.Second / 2) // Date is cut to a second
	wrong := date.Sub(c.at(middle).Round(0))
	difference := date.Sub(middle.Round(0))
	if difference.Abs() > maxCorrection {
		return wrong, &ClockError{Local: middle, Authority: date}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if difference.Abs() < dateResolution {
		c.local, c.remote = time.Time{}, time.Time{}
		return wrong, nil
	}
	if wrong.Abs() >= dateResolution { // else what is known is as good
		c.local, c.remote = middle, date
	}
	return wrong, nil
}

// difference returns both clocks' readings if they differ noticeably, else nil.
func (c *clock) difference() *ClockError {
	local := c.now()
	remote := c.at(local)
	if remote.Sub(local).Abs() < clockTolerance {
		return nil
	}
	return &ClockError{Local: local, Authority: remote}
}
