//go:build linux

package probe

import (
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// A program may connect from one port to several servers, since their addresses differ.
// Redirected, such connections go to different listeners.
func TestOneSourcePortToSeveralServers(t *testing.T) {
	for _, test := range []struct {
		name     string
		family   Family
		loopback string
		from, to string // an address, and a pattern of many
		identity bool
		most     int
	}{
		{"an identity's", unix.AF_INET, "127.0.0.1", "0.0.0.0", "10.98.1.%d", true, ofIdentities},
		{"an identity's, from an address", unix.AF_INET, "127.0.0.1", target4, "10.98.1.%d", true, ofIdentities},
		{"an identity's, IPv4-mapped", unix.AF_INET, "127.0.0.1", "::ffff:0.0.0.0", "::ffff:10.98.1.%d", true, ofIdentities},
		{"an identity's, IPv6", unix.AF_INET6, "::1", "::", "fd98::1:%d", true, ofIdentities},
		{"an identity's, IPv6, from an address", unix.AF_INET6, "::1", target6, "fd98::1:%d", true, ofIdentities},
		{"a stranger's", unix.AF_INET, "127.0.0.1", "0.0.0.0", "10.98.1.%d", false, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t)
			h.rest(t)
			arrivals := h.spread(t, test.family, test.loopback)
			c := h.start(t, "billing")
			h.watchFor(t, named("billing"))
			must(t, h.probe.beat())
			if test.identity {
				first := arrive(t, c, net.JoinHostPort(fmt.Sprintf(test.to, 99), "8080"), arrivals)
				h.probe.Identified(first.flow, named("billing").Identity)
			}
			seen := map[int]bool{}
			for i := 1; i <= test.most+1; i++ {
				socket, to := fmt.Sprint(i), net.JoinHostPort(fmt.Sprintf(test.to, i), "8080")
				c.socket(t, socket, to)
				c.do(t, request{Do: "option", Socket: socket, Option: "reuse address"})
				c.do(t, request{Do: "bind", Socket: socket, Addr: net.JoinHostPort(test.from, "40000")})
				got := c.try(t, request{Do: "connect", Socket: socket, Addr: to})
				if i > test.most { // docs/kernels.md says so
					requireErrno(t, "one connection too many", got, unix.EADDRNOTAVAIL)
					break
				}
				requireErrno(t, "connect to "+to, got, 0)
				a := next(t, arrivals)
				if a.flow.Original != unmapped(t, to) {
					t.Errorf("%s arrived as %v", to, a.flow.Original)
				}
				if seen[a.listener] || a.listener < ofIdentities != test.identity {
					t.Errorf("%s came to listener %d; those before to %v", to, a.listener, seen)
				}
				seen[a.listener] = true
			}
		})
	}
}
