//go:build linux

package probe

import (
	"net"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

func TestLocalAPIKnowsItsCallers(t *testing.T) {
	h := newHost(t)
	h.watch(t, workload.Watch{}) // nobody has an identity
	c := h.start(t, "billing")
	for address, family := range map[string]Family{"127.0.0.1": unix.AF_INET, "::1": unix.AF_INET6} {
		listener, err := listenTCP(h.net.Do, net.JoinHostPort(address, "0"))
		must(t, err)
		must(t, h.probe.MarkLocalAPI(listener, portOf(listener)))
		must(t, h.listeners[family].Close())
		h.listeners[family] = listener
		addr := net.JoinHostPort(address, strconv.Itoa(int(portOf(listener))))
		var ends response
		counts := h.counts(t, func() { ends = c.connect(t, addr) })
		requireErrno(t, "connect", ends, 0)
		requireCount(t, counts, "local_api", 1)
		requireCount(t, counts, "redirected", 0)
		if ends.Peer != addr {
			t.Errorf("getpeername said %s, want %s", ends.Peer, addr)
		}
		flow := h.claim(t, family)
		if flow.Kind != workload.FlowLocalAPI || flow.Original != unmapped(t, addr) || flow.CgroupID != h.cgroup.ID {
			t.Errorf("flow is %+v", flow)
		}
		h.requireRuns(t, c, flow.Image)
	}
}
