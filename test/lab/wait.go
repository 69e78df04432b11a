//go:build linux

package lab

import (
	"testing"
	"time"
)

// pollInterval is how often Eventually looks.
const pollInterval = 5 * time.Millisecond

// Eventually waits until holds returns nil and fails the test with its last error
// when that does not happen within the limit.
func Eventually(t testing.TB, limit time.Duration, holds func() error) {
	t.Helper()
	if err := waitFor(limit, holds); err != nil {
		t.Fatalf("not within %v: %v", limit, err)
	}
}

// waitFor is Eventually for code that must go on after a failure.
func waitFor(limit time.Duration, holds func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := holds()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pollInterval)
	}
}
