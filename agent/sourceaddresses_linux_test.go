package agent

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/probe"
	"github.com/lanyardhq/lanyard/test/lab"
)

// What the hooks are told of a host's routes is what the kernel does by them.
func TestSourceAddressesAreTheKernels(t *testing.T) {
	host, beside, behind := lab.NewNetNS(t), lab.NewNetNS(t), lab.NewNetNS(t)
	host.AddLocal(t, "10.98.0.2/32", "fd98::2/128")
	first, _ := lab.Connect(t, host, []string{"10.98.1.1/24", "10.98.1.9/24", "2001:db8:1::1/64", "fd98:1::1/64"}, beside, []string{"10.98.1.2/24", "2001:db8:1::2/64"})
	second, _ := lab.Connect(t, host, []string{"10.98.2.1/24", "2001:db8:2::1/64"}, behind, []string{"10.98.2.2/24", "2001:db8:2::2/64"})
	for prefix, gateway := range map[string]string{
		"0.0.0.0/0": "10.98.1.2", "10.99.0.0/16": "10.98.2.2", "10.99.7.0/24": "10.98.1.2",
		"::/0": "2001:db8:1::2", "2001:db8:99::/48": "2001:db8:2::2",
	} {
		host.AddRoute(t, prefix, gateway)
	}
	err := host.Do(func() error { return addSpecialRoutes(first, second) })
	if err != nil {
		t.Fatal(err)
	}
	to := []string{
		"127.0.0.1", "127.0.0.7", "10.98.0.2", "10.98.1.1", "10.98.1.9", "10.98.1.2", "10.98.1.77", "10.98.2.2", "192.0.2.1", "1.1.1.1",
		"223.255.255.255", "10.99.0.1", "10.99.7.1", "10.99.255.255", "10.97.0.1", "10.97.0.255", "10.96.1.1", "10.96.2.1", "172.16.0.9",
		"::1", "fd98::2", "fd98:1::1", "fd98:1::77", "fd00:5::5", "2001:db8:1::2", "2001:db8:2::2", "2001:db8:99::1", "2001:db8:98::1", "2a00::1",
	}
	err = host.Do(func() error {
		for _, text := range to {
			addr := netip.MustParseAddr(text)
			sources, err := sourceAddresses(familyOf(addr))
			if err != nil {
				return err
			}
			want, err := kernelsSource(addr)
			if err != nil {
				return err
			}
			if got := longest(sources, addr); got != want {
				t.Errorf("to %s the kernel connects from %s, and the hooks are told %s", addr, want, got)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// addSpecialRoutes adds what decides beside prefix and gateway.
func addSpecialRoutes(first, second string) error {
	links := map[string]int{}
	for _, name := range []string{first, second} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		links[name] = link.Attrs().Index
	}
	prefix := func(text string) *net.IPNet {
		_, n, _ := net.ParseCIDR(text)
		return n
	}
	for _, r := range []netlink.Route{
		{Dst: prefix("10.97.0.0/24"), LinkIndex: links[first], Src: net.ParseIP("10.98.0.2")}, // named in the route
		{Dst: prefix("10.96.2.0/24"), LinkIndex: links[second]},                               // by device only
		{Dst: prefix("172.16.0.0/12"), Gw: net.ParseIP("10.98.2.2"), Table: 98},
	} {
		if err := netlink.RouteAdd(&r); err != nil {
			return fmt.Errorf("add route %v: %w", r, err)
		}
	}
	rule := netlink.NewRule() // whose prefix is in no route
	rule.Dst, rule.Table, rule.Priority = prefix("172.16.0.0/28"), 98, 98
	return netlink.RuleAdd(rule)
}

// kernelsSource is from where the kernel connects to an address.
func kernelsSource(to netip.Addr) (netip.Addr, error) {
	conn, err := net.Dial("udp", netip.AddrPortFrom(to, 9).String())
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

// longest does what the hooks do.
func longest(sources map[netip.Prefix]netip.Addr, to netip.Addr) (source netip.Addr) {
	bits := -1
	for prefix, is := range sources {
		if prefix.Contains(to) && prefix.Bits() > bits {
			source, bits = is, prefix.Bits()
		}
	}
	return source
}

// A host with more routes than the hooks can be told of is served as far as they can.
func TestSourceAddressesAreBounded(t *testing.T) {
	var prefixes []netip.Prefix
	for i := range 2 * probe.MaxSourceAddresses {
		prefixes = append(prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24))
	}
	prefixes = append([]netip.Prefix{everywhere(unix.AF_INET)}, prefixes...)
	sources := sourcesOf(prefixes, func(to netip.Addr) (netip.Addr, bool) { return to, true })
	if len(sources) != probe.MaxSourceAddresses {
		t.Errorf("%d prefixes have a source, want %d", len(sources), probe.MaxSourceAddresses)
	}
	to, found := sources[prefixes[0]]
	if !found || prefixes[1].Contains(to) {
		t.Errorf("the widest prefix was asked for by %v (%v)", to, found)
	}
}

func TestSampleIsInNoOtherPrefix(t *testing.T) {
	others := []netip.Prefix{netip.MustParsePrefix("128.0.0.0/1"), netip.MustParsePrefix("64.0.0.0/2")}
	to, found := sampleOf(everywhere(unix.AF_INET), others)
	if !found || !netip.MustParsePrefix("0.0.0.0/2").Contains(to) {
		t.Errorf("got %v (%v)", to, found)
	}
	if to, found := sampleOf(everywhere(unix.AF_INET), append(others, netip.MustParsePrefix("0.0.0.0/2"))); found {
		t.Errorf("got %v where every address is in another prefix", to)
	}
}
