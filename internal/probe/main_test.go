//go:build linux

package probe

import (
	"os"
	"runtime"
	"testing"
)

// childMarker in the environment makes the test program a client instead: see
// runClient.
const childMarker = "LANYARD_PROBE_CLIENT"

// The first thread runs init only; a client keeps its main goroutine there, so
// that it knows which thread leads.
func init() {
	if os.Getenv(childMarker) != "" {
		runtime.LockOSThread()
	}
}

func TestMain(m *testing.M) {
	if os.Getenv(childMarker) != "" {
		runClient()
		return
	}
	os.Exit(m.Run())
}
