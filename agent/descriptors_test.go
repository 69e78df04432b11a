//go:build linux

package agent

import (
	"math"
	"testing"
)

func TestConnectionsWithinTheLimitOfOpenFiles(t *testing.T) {
	for files, want := range map[uint64]int{
		0: 1, 128: 1, 256: 64, 1024: 448, 8000: 3500, 20_000: 9500, 21_000: 10_000, 1 << 20: 10_000, math.MaxUint64: 10_000,
	} {
		if got := connectionsWithin(files); got != want {
			t.Errorf("%d open files allow %d connections, want %d", files, got, want)
		}
	}
}
