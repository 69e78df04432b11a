package authority

import (
	"net/http"
	"net/netip"
)

// source is where a request comes from. Whatever counts by source counts by this:
// rate limits, activity, the control networks.
type source struct {
	addr netip.Addr // IPv4 as such, without a zone; the zero Addr if nothing is known
	sure bool       // false: addr is only the nearest hop that is known
}

// String is the address for the activity log, "" if none is known.
func (s source) String() string {
	if !s.addr.IsValid() {
		return ""
	}
	return s.addr.String()
}

func (s source) doubt() string { return "the connection's peer has no IP address" }

// source finds out where the request comes from.
func (a *Authority) source(r *http.Request) source {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return source{}
	}
	return source{plainAddr(peer.Addr()), true}
}

// plainAddr is the one form in which addresses are compared.
func plainAddr(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }
