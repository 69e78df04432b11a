//go:build linux

package agent

import (
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/injector"
)

// TestInjectorLimits holds that each configured limit is the one that its key says.
func TestInjectorLimits(t *testing.T) {
	c, _ := parse(t, fullConfig)
	want := injector.Limits{
		HeadBytes: 131072, HeadFields: 500, Head: time.Minute, Decision: 5 * time.Second, Dial: 10 * time.Second,
		Stall: time.Hour, Idle: 30 * time.Minute, Relay: 48 * time.Hour,
	}
	if got := injectorLimits(c.Limits); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
