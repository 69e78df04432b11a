//go:build linux

package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/probe"
)

// sourceSamples is how many addresses of a prefix are tried for one that is in no longer
// prefix.
const sourceSamples = 32

// sourceAddresses finds from which address the kernel connects to which prefix in this
// namespace. The kernel chooses by the prefixes of its routes and of its rules; it is
// asked for one address of each, so that its own answer counts. What it would decide by
// the connecting socket's mark, user or ports is not seen: upstream connections are the
// agent's, and the kernel asks about those in the same way.
func sourceAddresses(family probe.Family) (map[netip.Prefix]netip.Addr, error) {
	prefixes, err := routedPrefixes(family)
	if err != nil {
		return nil, err
	}
	kernel, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("ask for source addresses: %w", err)
	}
	defer kernel.Close()
	return sourcesOf(prefixes, func(to netip.Addr) (netip.Addr, bool) {
		routes, err := kernel.RouteGet(to.AsSlice())
		if err != nil || len(routes) == 0 { // nobody gets there
			return netip.Addr{}, false
		}
		source, ok := netip.AddrFromSlice(routes[0].Src)
		return source.Unmap(), ok
	}), nil
}

// routedPrefixes returns the destinations of all routes and rules, the widest first.
func routedPrefixes(family probe.Family) ([]netip.Prefix, error) {
	found := map[netip.Prefix]bool{}
	note := func(prefix netip.Prefix, ok bool) {
		if ok {
			found[prefix] = true
		}
	}
	// A list that changed while the kernel wrote it may lack some: the change has us asked again.
	routes, err := netlink.RouteListFiltered(int(family), &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst == nil {
			note(everywhere(family), true)
		} else {
			note(prefixOf(r.Dst.IP, r.Dst.Mask))
		}
	}
	rules, err := netlink.RuleList(int(family))
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) && !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	for _, r := range rules {
		if r.Dst != nil {
			note(prefixOf(r.Dst.IP, r.Dst.Mask))
		}
	}
	if family == unix.AF_INET6 {
		found[uniqueLocal] = true
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b netip.Prefix) int {
		if a.Bits() != b.Bits() {
			return a.Bits() - b.Bits()
		}
		return a.Addr().Compare(b.Addr())
	}), nil
}

// uniqueLocal are the addresses to which IPv6 prefers sources of the same kind, whatever
// the route (RFC 6724, section 2.1).
var uniqueLocal = netip.MustParsePrefix("fc00::/7")

func everywhere(family probe.Family) netip.Prefix {
	if family == unix.AF_INET {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

func prefixOf(ip []byte, mask []byte) (netip.Prefix, bool) {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		return netip.Prefix{}, false
	}
	addr = addr.Unmap()
	bits := 0
	for _, b := range mask {
		for ; b&0x80 != 0; b <<= 1 {
			bits++
		}
	}
	prefix, err := addr.Prefix(bits)
	return prefix, err == nil
}

// sourcesOf asks for a source address to each prefix, the widest first, as far as the
// hooks can be told.
func sourcesOf(prefixes []netip.Prefix, ask func(to netip.Addr) (netip.Addr, bool)) map[netip.Prefix]netip.Addr {
	sources := map[netip.Prefix]netip.Addr{}
	for i, prefix := range prefixes {
		if len(sources) == probe.MaxSourceAddresses {
			break
		}
		if prefix.Addr().IsMulticast() || prefix.Addr().IsLinkLocalUnicast() { // where nothing is redirected
			continue
		}
		to, ok := sampleOf(prefix, prefixes[i+1:])
		if !ok {
			continue
		}
		if source, ok := ask(to); ok {
			sources[prefix] = source
		}
	}
	return sources
}

// sampleOf returns an address of a prefix that is in none of the others, and the same one
// each time. There may be none.
func sampleOf(prefix netip.Prefix, others []netip.Prefix) (netip.Addr, bool) {
	random := rand.New(rand.NewPCG(0, uint64(prefix.Bits())))
	for range sourceSamples {
		to := addressIn(prefix, random)
		if !to.IsMulticast() && !slices.ContainsFunc(others, func(p netip.Prefix) bool { return p.Contains(to) }) {
			return to, true
		}
	}
	return netip.Addr{}, false
}

// addressIn returns a random address of a prefix.
func addressIn(prefix netip.Prefix, random *rand.Rand) netip.Addr {
	addr := prefix.Addr().AsSlice()
	host := make([]byte, 16)
	binary.BigEndian.PutUint64(host, random.Uint64())
	binary.BigEndian.PutUint64(host[8:], random.Uint64())
	for i := range addr {
		fixed := min(max(prefix.Bits()-8*i, 0), 8)
		addr[i] |= host[i] & (0xff >> fixed)
	}
	to, _ := netip.AddrFromSlice(addr)
	return to
}
