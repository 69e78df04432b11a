//go:build linux

package agent

import (
	"math"
	"testing"
)

func TestConnectionsWithinTheLimitOfOpenFiles(t *testing.T) {
	for files, want := range map[uint64]int{
		0: 1, 128: 1, 256: 32, 1024: 416, 8000: 3500, 20_000: 9500, 21_000: 10_000, 1 << 20: 10_000, math.MaxUint64: 10_000,
	} {
		if got := connectionsWithin(files); got != want {
			t.Errorf("%d open files allow %d connections, want %d", files, got, want)
		}
	}
}

// TestOptionalListenersHaveTheirPart, however many there are: what they may hold is a
// quarter of what the injector leaves.
func TestOptionalListenersHaveTheirPart(t *testing.T) {
	for files, want := range map[uint64]int{0: 12, 401: 12, 1024: 12, 4096: 32, 8000: 62, 20_000: 62, math.MaxUint64: 62} {
		if got := placesWithin(files, 4); got != want {
			t.Errorf("%d open files allow each of four listeners %d connections, want %d", files, got, want)
		}
	}
	for _, listeners := range []int{0, 1, 3, 32, 1000} {
		if got := placesWithin(1024, listeners); got < 1 || listeners <= 48 && got*listeners > 48 {
			t.Errorf("%d listeners have %d connections each", listeners, got)
		}
	}
}
