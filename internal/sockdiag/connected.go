//go:build linux

package sockdiag

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Connected returns every established connection to a port, at whatever address. More
// than a quarter of a million are an error.
func (d *Diag) Connected(port uint16) ([]Socket, error) {
	var found []Socket
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		q := query{family: family, states: 1 << Established, remote: netip.AddrPortFrom(netip.Addr{}, port), dump: true}
		err := d.ask(q, func(s Socket) {
			if s.Remote.Port() == port && len(found) <= maxSockets {
				found = append(found, s)
			}
		})
		if err != nil {
			return nil, fmt.Errorf("find connections to port %d: %w", port, err)
		}
	}
	if len(found) > maxSockets {
		return nil, fmt.Errorf("find connections to port %d: more than %d", port, maxSockets)
	}
	return found, nil
}
