package resolver

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// Reason says why an address is not verified.
type Reason string

// The reasons.
const (
	ReasonConfigured Reason = "configured" // the destination wants a configured address, and this is none
	ReasonWildcard   Reason = "wildcard"   // only a wildcard fits the host, and no configured address fits
	ReasonLiteral    Reason = "literal"    // the host is another address
	ReasonSpecial    Reason = "special"    // loopback, link-local, unspecified, multicast: no DNS answer vouches for it
	ReasonUnknown    Reason = "unknown"    // not among the answers of the last ten minutes
	ReasonForeign    Reason = "foreign"    // the destination does not have this host at all
	ReasonUnresolved Reason = "unresolved" // there was no answer in the last ten minutes
)

// NotVerifiedError says why an address is not that of a host.
type NotVerifiedError struct {
	Destination string
	Host        string
	Address     netip.Addr
	Reason      Reason
	Known       []netip.Addr // what the host had in the last ten minutes
	Err         error        // of the look-up, or nil
}

// Error says what was seen and what can be done.
func (e *NotVerifiedError) Error() string {
	var seen string
	switch e.Reason {
	case ReasonWildcard:
		seen = "the destination has this host by a wildcard, which only configured addresses verify"
	case ReasonConfigured:
		seen = "the destination says verify: addresses, and has not this one"
	case ReasonLiteral:
		seen = "it is another address"
	case ReasonForeign:
		return fmt.Sprintf("verify that %v is %q: destination %q does not have this host", e.Address, e.Host, e.Destination)
	case ReasonSpecial:
		seen = "a loopback, link-local, unspecified or multicast address is verified by configuration only"
	case ReasonUnknown:
		seen = fmt.Sprintf("this host's resolver answered %s in the last %v", list(e.Known), Memory)
	default:
		seen = fmt.Sprintf("this host's resolver answered nothing in the last %v", Memory)
	}
	if e.Err != nil {
		seen += fmt.Sprintf(" (last look-up: %v)", e.Err)
	}
	prefix := "it"
	if e.Address.IsValid() {
		prefix = netip.PrefixFrom(e.Address, e.Address.BitLen()).String()
	}
	return fmt.Sprintf("verify that %v is %q: %s; if it belongs to destination %q, add %s to the destination's addresses",
		e.Address, e.Host, seen, e.Destination, prefix)
}

// Unwrap returns the look-up's error.
func (e *NotVerifiedError) Unwrap() error { return e.Err }

// Verify returns nil if a plaintext connection to addr leads to that host of the
// destination, else a *NotVerifiedError. Host is normalised, without port and
// brackets. A name that is known takes no lock and makes no system call; another
// is looked up once a second at most, and ctx or two seconds end the wait.
func (r *Resolver) Verify(ctx context.Context, d *workload.Destination, host string, addr netip.AddrPort) error {
	return r.verify(ctx, asker{askerDestination, d.Name}, d, host, addr)
}

func (r *Resolver) verify(ctx context.Context, by asker, d *workload.Destination, host string, addr netip.AddrPort) error {
	ip := plain(addr.Addr())
	host = canonical(host)
	exact := slices.Contains(d.Hosts, host)
	if !exact && !fitsWildcard(d.Hosts, host) {
		return refusal(d, host, ip, ReasonForeign)
	}
	for _, prefix := range d.Addresses {
		if prefix.Contains(ip) {
			return nil
		}
	}
	if d.Verify == workload.VerifyByAddresses && !isLiteral(host) {
		return refusal(d, host, ip, ReasonConfigured)
	}
	if !exact {
		return refusal(d, host, ip, ReasonWildcard)
	}
	if n := (*r.names.Load())[host]; n != nil && answerable(ip) {
		now := r.now()
		if n.had(ip, now) {
			r.refresh(n, by, now)
			return nil
		}
	}
	return r.verifyUnknown(ctx, by, d, host, ip)
}

// isLiteral reports whether a host is an address, which verifies itself.
func isLiteral(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// Knows reports whether an address is one of the destination's by what is known
// now: configured, a host itself, or answered for one of its names in the last ten
// minutes. Nothing is looked up or waited for, and no name counts as used.
func (r *Resolver) Knows(d *workload.Destination, addr netip.AddrPort) bool {
	ip := plain(addr.Addr())
	if slices.ContainsFunc(d.Addresses, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return true
	}
	names, now := *r.names.Load(), r.now()
	return slices.ContainsFunc(d.Hosts, func(host string) bool {
		if literal, err := netip.ParseAddr(host); err == nil {
			return plain(literal) == ip
		}
		n := names[canonical(host)]
		return d.Verify != workload.VerifyByAddresses && n != nil && answerable(ip) && n.had(ip, now)
	})
}

func refusal(d *workload.Destination, host string, ip netip.Addr, reason Reason) *NotVerifiedError {
	return &NotVerifiedError{Destination: d.Name, Host: host, Address: ip, Reason: reason}
}

// verifyUnknown is Verify for an address that no answer has given yet.
func (r *Resolver) verifyUnknown(ctx context.Context, by asker, d *workload.Destination, host string, ip netip.Addr) error {
	if literal, err := netip.ParseAddr(host); err == nil {
		if plain(literal) == ip {
			return nil
		}
		return refusal(d, host, ip, ReasonLiteral)
	}
	if !answerable(ip) {
		return refusal(d, host, ip, ReasonSpecial)
	}
	n, err := r.name(host, by)
	if err == nil {
		had := func() bool { return n.had(ip, r.now()) }
		err = r.await(ctx, n, by, had)
		if had() {
			return nil
		}
	}
	unverified := refusal(d, host, ip, ReasonUnresolved)
	unverified.Err = err
	if n != nil {
		unverified.Known = n.addresses(r.now())
	}
	if len(unverified.Known) > 0 {
		unverified.Reason = ReasonUnknown
	}
	return unverified
}

// refresh marks a name as used and has it looked up again, without waiting,
// before it is forgotten. It looks at that once a minute.
func (r *Resolver) refresh(n *name, by asker, now time.Time) {
	if n.use(r.minute(now)) && now.Sub(n.known.Load().at) >= refreshAfter {
		_, _ = r.request(n, by, goesOn) // the answer that is known counts in any case
	}
}

// answerable reports whether a DNS answer can vouch for an address. Whoever
// answers for a name must not make this host's own services, or its neighbours
// on the link, look like that name.
func answerable(ip netip.Addr) bool {
	if inner, ok := embedded(ip); ok && !answerable(inner) {
		return false
	}
	return ip.IsValid() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() && !ip.IsUnspecified() &&
		!ip.IsMulticast() && !thisNetwork.Contains(ip) && ip != broadcast
}

// embedded returns the IPv4 address that a translator or a tunnel makes of an
// IPv6 address: NAT64 and 6to4 lead to it, and so could the deprecated
// IPv4-compatible form.
func embedded(ip netip.Addr) (netip.Addr, bool) {
	raw := ip.As16()
	switch {
	case ip.Is4():
		return netip.Addr{}, false
	case nat64.Contains(ip), compatible.Contains(ip) && !ip.IsUnspecified() && !ip.IsLoopback():
		return netip.AddrFrom4([4]byte(raw[12:])), true
	case sixToFour.Contains(ip):
		return netip.AddrFrom4([4]byte(raw[2:])), true
	}
	return netip.Addr{}, false
}

var (
	nat64       = netip.MustParsePrefix("64:ff9b::/96")        // RFC 6052 section 2.1
	sixToFour   = netip.MustParsePrefix("2002::/16")           // RFC 3056 section 2
	compatible  = netip.MustParsePrefix("::/96")               // RFC 4291 section 2.5.5.1
	thisNetwork = netip.PrefixFrom(netip.IPv4Unspecified(), 8) // RFC 1122 section 3.2.1.3
	broadcast   = netip.AddrFrom4([4]byte{255, 255, 255, 255})
)

// fitsWildcard reports whether one of the patterns covers the host as a wildcard.
func fitsWildcard(patterns []string, host string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		suffix, wildcard := strings.CutPrefix(pattern, "*")
		below, fits := strings.CutSuffix(host, suffix)
		return wildcard && fits && !slices.Contains(strings.Split(below, "."), "") // an empty label is no name's
	})
}

// list prints some of the addresses.
func list(addrs []netip.Addr) string {
	const most = 8
	var texts []string
	for _, addr := range addrs[:min(len(addrs), most)] {
		texts = append(texts, addr.String())
	}
	if more := len(addrs) - most; more > 0 {
		texts = append(texts, fmt.Sprintf("%d more", more))
	}
	return strings.Join(texts, ", ")
}
