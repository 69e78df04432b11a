//go:build linux

package probe

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
)

// A redirected socket says that it comes from where the kernel would have connected it
// from: by the longest prefix, in its own network namespace.
func TestGetsocknameOfARedirectedSocket(t *testing.T) {
	h := newHost(t)
	h.net.AddLocal(t, open4+"/32", open6+"/128")
	other := h.cookie + 1
	sources := func(of map[string]string) map[netip.Prefix]netip.Addr {
		all := map[netip.Prefix]netip.Addr{}
		for prefix, source := range of {
			all[netip.MustParsePrefix(prefix)] = netip.MustParseAddr(source)
		}
		return all
	}
	must(t, h.probe.SetSourceAddresses(h.cookie, sources(map[string]string{
		"0.0.0.0/0": "192.0.2.9", "10.98.0.0/24": open4, "127.0.0.0/8": "127.0.0.1", "::/0": "2001:db8::9", "fd98::/64": open6, "::1/128": "::1",
	})))
	must(t, h.probe.SetSourceAddresses(other, sources(map[string]string{target4 + "/32": "192.0.2.8", target6 + "/128": "2001:db8::8"})))
	c := h.start(t, "billing")
	for _, test := range []struct {
		name, bind, to, want string
		family               Family
	}{
		{"IPv4", "", target4, open4, unix.AF_INET},
		{"IPv6", "", target6, open6, unix.AF_INET6},
		{"IPv4-mapped", "", "::ffff:" + target4, "::ffff:" + open4, unix.AF_INET},
		{"a shorter prefix", "", "198.51.100.1", "192.0.2.9", unix.AF_INET},
		{"a shorter prefix of IPv6", "", "2001:db8::1", "2001:db8::9", unix.AF_INET6},
		{"loopback", "", "127.0.0.5", "127.0.0.1", unix.AF_INET},
		{"loopback of IPv6", "", "::1", "::1", unix.AF_INET6},
		{"bound", target4 + ":0", "198.51.100.1", target4, unix.AF_INET},
		{"bound to a port", "0.0.0.0:40100", target4, open4, unix.AF_INET},
		{"bound, IPv6", "[" + target6 + "]:0", "2001:db8::1", target6, unix.AF_INET6},
	} {
		t.Run(test.name, func(t *testing.T) {
			to := net.JoinHostPort(test.to, "8080")
			c.socket(t, "s", to)
			if test.bind != "" {
				c.do(t, request{Do: "bind", Socket: "s", Addr: test.bind})
			}
			c.do(t, request{Do: "connect", Socket: "s", Addr: to})
			local := netip.MustParseAddrPort(c.do(t, request{Do: "ends", Socket: "s"}).Local)
			if local.Addr().String() != test.want {
				t.Errorf("getsockname said %s, want %s", local.Addr(), test.want)
			}
			flow := h.claim(t, test.family)
			if flow.Client.Port() != local.Port() {
				t.Errorf("getsockname said port %d, and the connection comes from %v", local.Port(), flow.Client)
			}
		})
	}
	for _, address := range []string{target4, target6, "::ffff:" + target4} {
		c.connect(t, at(address))
		c.do(t, request{Do: "disconnect", Socket: "s"})
		if local := unmapped(t, c.do(t, request{Do: "ends", Socket: "s"}).Local).Addr(); !local.IsUnspecified() {
			t.Errorf("disconnected from %s, and getsockname said %s", address, local)
		}
	}
	must(t, h.probe.SetSourceAddresses(h.cookie, nil))
	if local := unmapped(t, c.connect(t, at(target4)).Local).Addr(); !local.IsLoopback() {
		t.Errorf("nothing is known of where it would come from, and getsockname said %s", local)
	}
}

// What a former agent knew holds until the next one knows better; of other namespaces
// nothing stays.
func TestSourceAddressesOutliveTheAgent(t *testing.T) {
	h := newHost(t)
	to := netip.MustParsePrefix(target4 + "/32")
	must(t, h.probe.SetSourceAddresses(h.probe.home, map[netip.Prefix]netip.Addr{to: netip.MustParseAddr(open4)}))
	must(t, h.probe.SetSourceAddresses(h.probe.home+1, map[netip.Prefix]netip.Addr{to: netip.MustParseAddr(open4)}))
	must(t, h.leave())
	h.startAgent(t)
	if len(h.probe.sources) != 1 || h.probe.sources[sourceKey(h.probe.home, to)].Bytes != netip.MustParseAddr(open4).As16() {
		t.Errorf("the next agent finds %v", h.probe.sources)
	}
	must(t, h.probe.SetSourceAddresses(h.probe.home, nil))
	var key bpf.ConnectSourceKey
	var value bpf.ConnectAddress
	if left := h.probe.connect.SourceAddresses.Iterate(); left.Next(&key, &value) || left.Err() != nil {
		t.Errorf("the kernel still holds %v (%v)", key, left.Err())
	}
}
