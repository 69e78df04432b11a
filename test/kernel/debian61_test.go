//go:build linux

package kernel_test

import (
	"testing"

	"github.com/lanyardhq/lanyard/test/kernel"
)

// TestDebian61 runs kernel tests in Debian 12's kernel. Tests that only that
// kernel can run have the build tag lanyard_guest.
func TestDebian61(t *testing.T) {
	kernel.Machine{
		Modules: []string{"vrf", "veth"},
		Suites: []kernel.Suite{
			{Package: "github.com/lanyardhq/lanyard/test/kernel/guestcheck", Tags: "lanyard_guest"},
			// The name server's tests need glibc's getent, which the guest lacks.
			{Package: "github.com/lanyardhq/lanyard/test/lab", Tags: "lanyard_guest", Skip: "NameServerAnswersChange"},
			{Package: "github.com/lanyardhq/lanyard/internal/probe", Tags: "lanyard_guest"},
		},
	}.Run(t)
}
