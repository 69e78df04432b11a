//go:build linux

package probe

import (
	"net"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
	"github.com/lanyardhq/lanyard/test/lab"
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

// localSpread has all listeners of the local API in one family, beside the one that is
// asked for, and says which of them each caller comes to.
func (h *host) localSpread(t *testing.T, family Family, address string) (asked string, others Ports, arrivals <-chan arrival) {
	t.Helper()
	first, err := listenTCP(h.net.Do, net.JoinHostPort(address, "0"))
	must(t, err)
	t.Cleanup(func() { _ = first.Close() })
	must(t, h.probe.MarkLocalAPI(first, portOf(first)))
	others, arrivals = h.listenOften(t, address, h.probe.MarkLocalAPI)
	must(t, h.probe.LocalReady(h.cookie, family, others))
	return first.Addr().String(), others, arrivals
}

// Callers of the local API come to listeners that they share with nobody, as those of the
// injector do, and hear of none of that. By themselves they do not get there.
func TestCallersOfTheLocalAPIHaveListenersOfTheirOwn(t *testing.T) {
	for family, address := range map[Family]string{unix.AF_INET: "127.0.0.1", unix.AF_INET6: "::1"} {
		t.Run(address, func(t *testing.T) {
			h := newHost(t)
			must(t, h.net.Do(func() error { return h.probe.TurnAway(nil) }))
			h.watchFor(t, isFile(t, copyOf(t, "billing"))) // another file of that name
			asked, others, arrivals := h.localSpread(t, family, address)
			c := h.start(t, "billing")
			free := h.startIn(t, executable(t, "billing"), lab.Place{Cgroup: lab.NewCgroup(t), Net: h.net})

			stranger := arrive(t, c, asked, arrivals)
			if stranger.listener < ofIdentities {
				t.Errorf("a stranger came to listener %d, where identities come", stranger.listener)
			}
			if stranger.flow.Kind != workload.FlowLocalAPI || stranger.flow.Original != unmapped(t, asked) {
				t.Errorf("its flow is %+v", stranger.flow)
			}
			if ends := c.connect(t, asked); ends.Peer != asked {
				t.Errorf("getpeername said %s, want %s", ends.Peer, asked)
			}
			<-arrivals
			h.probe.Identified(stranger.flow, exactIdentity)
			if got := arrive(t, c, asked, arrivals).listener; got >= ofIdentities {
				t.Errorf("an identity came to listener %d, where strangers come", got)
			}

			hidden := net.JoinHostPort(address, strconv.Itoa(int(others[0])))
			if got := arrive(t, h.start(t, "other"), hidden, arrivals).listener; got < ofIdentities {
				t.Errorf("a stranger that asked for an identity's listener came to listener %d", got)
			}
			counts := h.counts(t, func() {
				requireErrno(t, "connect of one that is not hooked", free.connect(t, hidden), unix.ECONNREFUSED)
			})
			requireCount(t, counts, "direct", 1)

			must(t, h.probe.LocalUnready(h.cookie, family))
			requireErrno(t, "connect without the others", c.connect(t, asked), 0)
			select {
			case a := <-arrivals:
				t.Errorf("withdrawn, and a caller came to listener %d", a.listener)
			default:
			}
		})
	}
}

// A socket that is tied to loopback reaches the local API at the address it asks for: its
// flow reaches nobody, and so it would not be let in elsewhere.
func TestTiedCallersOfTheLocalAPI(t *testing.T) {
	h := newHost(t)
	must(t, h.net.Do(func() error { return h.probe.TurnAway(nil) }))
	asked, _, arrivals := h.localSpread(t, unix.AF_INET, "127.0.0.1")
	c := h.start(t, "billing")
	c.socket(t, "s", asked)
	requireErrno(t, "tie", c.tie(t, "s", "device"), 0)
	requireErrno(t, "connect", c.try(t, request{Do: "connect", Socket: "s", Addr: asked}), 0)
	arrive(t, c, asked, arrivals) // one that is not tied goes where it is sent
}

// A server of anybody may have a port of ours on another address.
func TestOtherAddressesAreNotTurnedAway(t *testing.T) {
	h := newHost(t)
	ours := map[Family]Ports{
		unix.AF_INET: {0: portOf(h.listeners[unix.AF_INET])}, unix.AF_INET6: {0: portOf(h.listeners[unix.AF_INET6])},
	}
	must(t, h.net.Do(func() error { return h.probe.TurnAway(ours) }))
	c := h.start(t, "billing")
	for addr, family := range map[string]Family{"127.0.0.2": unix.AF_INET, target4: unix.AF_INET, target6: unix.AF_INET6} {
		to := net.JoinHostPort(addr, strconv.Itoa(int(ours[family][0])))
		listener, err := listenTCP(h.net.Do, to)
		must(t, err)
		requireErrno(t, "connect to "+to, c.connect(t, to), 0)
		must(t, listener.Close())
	}
}
