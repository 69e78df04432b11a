//go:build linux

package probe

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

func TestRedirect(t *testing.T) {
	h := newHost(t)
	const uid, gid = 4321, 8765
	c := h.start(t, "billing")
	c.do(t, request{Do: "setgid", Number: gid})
	c.do(t, request{Do: "setuid", Number: uid})
	for _, test := range []struct {
		name   string
		addr   string
		family Family
		peer   string // what getpeername says
	}{
		{"IPv4", "10.98.0.1:8080", unix.AF_INET, "10.98.0.1:8080"},
		{"IPv6", "[fd98::1]:8080", unix.AF_INET6, "[fd98::1]:8080"},
		{"IPv4-mapped", "[::ffff:10.98.0.1]:8080", unix.AF_INET, "[::ffff:10.98.0.1]:8080"},
		{"IPv4 loopback", "127.0.0.2:8080", unix.AF_INET, "127.0.0.2:8080"},
		{"IPv6 loopback", "[::1]:8080", unix.AF_INET6, "[::1]:8080"},
		{"unspecified IPv4", "0.0.0.0:8080", unix.AF_INET, "127.0.0.1:8080"},
		{"unspecified IPv6", "[::]:8080", unix.AF_INET6, "[::1]:8080"},
		{"unspecified IPv4-mapped", "[::ffff:0.0.0.0]:8080", unix.AF_INET, "[::ffff:127.0.0.1]:8080"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var ends response
			counts := h.counts(t, func() { ends = c.connect(t, test.addr) })
			requireErrno(t, "connect", ends, 0)
			requireCount(t, counts, "redirected", 1)
			requireCount(t, counts, "published", 1)
			if ends.Peer != test.peer {
				t.Errorf("getpeername said %s, want %s", ends.Peer, test.peer)
			}
			flow := h.claim(t, test.family)
			image := flow.Image
			want := workload.Flow{
				Kind: workload.FlowRedirected, Image: image, UID: uid, GID: gid,
				CgroupID: h.cgroup.ID, NetNS: h.cookie, Generation: h.probe.settings.Generation,
				Client: unmapped(t, ends.Local), Original: unmapped(t, test.peer),
				File: flow.File, Share: flow.Share, PlaceID: flow.PlaceID, OfUser: flow.OfUser, // tests of their own
			}
			if flow != want {
				t.Errorf("flow is\n%+v, want\n%+v", flow, want)
			}
			h.requireRuns(t, c, image)
		})
	}
}

// requireRuns compares an image with what the process table and the probe say of
// the client.
func (h *host) requireRuns(t *testing.T, c *process, image workload.Image) {
	t.Helper()
	if image.PID != c.pid() {
		t.Errorf("pid is %d, want %d", image.PID, c.pid())
	}
	const ticks = 100 // a second, on every architecture
	if got, want := image.StartTime/(1e9/ticks), startTimeTicks(t, c.pid()); got != want {
		t.Errorf("the process started %d ticks after boot, want %d", got, want)
	}
	if alive, err := h.probe.Alive(image); !alive || err != nil {
		t.Errorf("%v is said not to run (%v)", image, err)
	}
	other := image
	other.ExecID++
	if alive, err := h.probe.Alive(other); alive || err != nil {
		t.Errorf("%v is said to run (%v)", other, err)
	}
}

func TestUnwatchedGoesStraightOn(t *testing.T) {
	h := newHost(t)
	h.serve(t, "10.98.0.1:8081", "D")
	h.serve(t, "127.0.0.1:8081", "D")
	c := h.start(t, "billing")
	counts := h.counts(t, func() {
		requireErrno(t, "connect", c.connect(t, "10.98.0.1:8081"), 0)
	})
	if len(counts) != 0 {
		t.Errorf("the kernel counted %v for a port that is not watched", counts)
	}
	if peer := c.do(t, request{Do: "ends", Socket: "s"}).Peer; peer != "10.98.0.1:8081" {
		t.Errorf("getpeername said %s", peer)
	}
	h.requireNoConnection(t)
}

// A UDP socket is connected to a watched port without being looked at.
func TestUDPIsUntouched(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	for number, addr := range map[int]string{4: at(target4), 6: at(target6)} {
		c.do(t, request{Do: "socket", Socket: "u", Number: number, Option: "udp"})
		counts := h.counts(t, func() {
			ends := c.do(t, request{Do: "connect", Socket: "u", Addr: addr})
			if ends.Peer != addr {
				t.Errorf("the UDP socket is connected to %s, want %s", ends.Peer, addr)
			}
		})
		if len(counts) != 0 {
			t.Errorf("the kernel counted %v for UDP", counts)
		}
	}
}
