package authority

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Fields in which a proxy says whom it serves.
const (
	xForwardedFor = "X-Forwarded-For"
	forwarded     = "Forwarded" // RFC 7239
)

// source is where a request comes from. Whatever counts by source counts by this:
// rate limits, activity, the control networks.
type source struct {
	addr  netip.Addr // IPv4 as such, without a zone; the zero Addr if nothing is known
	doubt string     // why addr is but the nearest hop that is known; or ""
}

// String is the address for the activity log, "" if none is known.
func (s source) String() string {
	if !s.addr.IsValid() {
		return ""
	}
	return s.addr.String()
}

// source finds out where the request comes from.
func (a *Authority) source(r *http.Request) source {
	return sourceOf(r, a.proxies)
}

// sourceOf follows the request from proxy to proxy, nearest first, and stops at the
// first address that is not a trusted proxy's: what stands beyond, anybody can have
// written. A trusted proxy that names nobody, or nothing readable, leaves a doubt.
//
// Where both fields are there X-Forwarded-For counts: the common proxies write it,
// and hand on the client's own Forwarded unread.
func sourceOf(r *http.Request, trusted []netip.Prefix) source {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return source{doubt: "the connection's peer has no IP address"}
	}
	addr := plainAddr(peer.Addr())
	name, next := xForwardedFor, xForwardedForHop
	if len(r.Header.Values(name)) == 0 {
		name, next = forwarded, forwardedHop
	}
	lines := r.Header.Values(name)
	rest := strings.Join(lines, ",")
	for more := len(lines) > 0; more && isIn(addr, trusted); {
		var hop string
		hop, rest, more = cutLast(rest, ',')
		beyond, err := next(strings.Trim(hop, " \t"))
		if err != nil {
			return source{addr, fmt.Sprintf("%s names no address behind the proxy %s", name, addr)}
		}
		addr = beyond
	}
	return source{addr: addr}
}

// plainAddr is the one form in which addresses are compared.
func plainAddr(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

func isIn(addr netip.Addr, networks []netip.Prefix) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// cutLast cuts the last element off a list. Separators between quotes do not count;
// quotes are counted from the right, for what a client wrote stands at the left, and
// must not change how a proxy's own element is read.
func cutLast(list string, separator byte) (last, rest string, more bool) {
	quoted := false
	for i := len(list) - 1; i >= 0; i-- {
		switch {
		case list[i] == '"':
			quoted = !quoted
		case list[i] == separator && !quoted:
			return list[i+1:], list[:i], true
		}
	}
	return list, "", false
}

var errHop = errors.New("no address")

// xForwardedForHop reads one element: an address, perhaps with a port, as some
// proxies write it.
func xForwardedForHop(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inner, "]") {
		if addr, err = netip.ParseAddr(strings.TrimSuffix(inner, "]")); err == nil && !addr.Is6() {
			return netip.Addr{}, errHop
		}
	}
	if err != nil {
		var withPort netip.AddrPort
		withPort, err = netip.ParseAddrPort(text)
		addr = withPort.Addr()
	}
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, errHop
	}
	return addr.Unmap(), nil
}

// forwardedHop reads the parameter "for" of one element, which must be there once.
// "unknown" and made-up names (RFC 7239 §6.2, §6.3) are no addresses.
func forwardedHop(element string) (netip.Addr, error) {
	found := ""
	for more := true; more; {
		var pair string
		pair, element, more = cutLast(element, ';')
		name, value, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
		if !ok {
			return netip.Addr{}, errHop
		}
		if !strings.EqualFold(name, "for") {
			continue
		}
		if found != "" {
			return netip.Addr{}, errHop
		}
		if found = value; len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
			found = value[1 : len(value)-1]
		}
	}
	return xForwardedForHop(found)
}

// parseProxies reads LANYARD_TRUSTED_PROXIES.
func parseProxies(list []string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, text := range list {
		network, err := parseNetwork(strings.TrimSpace(text))
		if err != nil {
			return nil, configError("LANYARD_TRUSTED_PROXIES: %s", err)
		}
		if network.Bits() == 0 {
			return nil, configError("LANYARD_TRUSTED_PROXIES: %s is everybody, and everybody could then name any source; name the proxies", network)
		}
		networks = append(networks, network)
	}
	return networks, nil
}
