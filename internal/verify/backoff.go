package verify

import "time"

const (
	refreshJitter = 0.1 // either way, so that receivers do not ask in step

	firstBackOff  = time.Second
	maxBackOff    = 30 * time.Second
	backOffJitter = 0.25 // either way
)

// backOff returns how long to leave the issuer alone after this many failures in a
// row, at least one. random is uniform in [0, 1).
func backOff(failures int, random float64) time.Duration {
	pause := firstBackOff
	for n := 1; n < failures && pause < maxBackOff; n++ {
		pause *= 2
	}
	return around(min(pause, maxBackOff), backOffJitter, random)
}

// around returns d, give or take a share of it.
func around(d time.Duration, jitter, random float64) time.Duration {
	return time.Duration(float64(d) * (1 + jitter*(2*random-1)))
}
