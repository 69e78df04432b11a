package token

import "time"

const (
	renewAt     = 0.80 // of what is left of a token's life when it is obtained
	renewJitter = 0.05 // either way, so that a fleet does not renew in step
	minRenewal  = time.Second

	firstBackOff  = 500 * time.Millisecond
	maxBackOff    = 15 * time.Second
	backOffJitter = 0.25 // either way
)

// schedule decides when the source is asked again.
type schedule struct {
	random func() float64 // uniform in [0, 1)
}

// renewal returns how long after it was obtained a token with this much life
// left is renewed.
func (s schedule) renewal(left time.Duration) time.Duration {
	return max(s.around(left, renewAt, renewJitter), minRenewal)
}

// backOff returns how long to leave the source alone after this many failures in
// a row, at least one.
func (s schedule) backOff(failures int) time.Duration {
	pause := firstBackOff
	for n := 1; n < failures && pause < maxBackOff; n++ {
		pause *= 2
	}
	return s.around(min(pause, maxBackOff), 1, backOffJitter)
}

// around returns the share of d, give or take jitter of d.
func (s schedule) around(d time.Duration, share, jitter float64) time.Duration {
	return time.Duration(float64(d) * (share + jitter*(2*s.random()-1)))
}
