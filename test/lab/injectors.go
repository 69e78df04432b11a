//go:build linux

package lab

import (
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
)

// PinnedMap opens a map that an agent pinned in a BPF file system. The caller closes
// it.
func PinnedMap(t testing.TB, bpffs, instance, name string) *ebpf.Map {
	t.Helper()
	pattern := filepath.Join(bpffs, "lanyard", instance, "v*", "maps", name)
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) != 1 {
		t.Fatalf("find the pinned map %s: %v (%v), want one", pattern, paths, err)
	}
	m, err := ebpf.LoadPinnedMap(paths[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// InjectorListeners lists where the connections of a namespace are redirected to, for
// each family, as the kernel was told. The agent listens on other ports of loopback
// too, some of them as hidden as these: /proc does not tell them apart.
func InjectorListeners(t testing.TB, readiness *ebpf.Map, netns *NetNS, agent int) (v4, v6 []netip.AddrPort) {
	t.Helper()
	listening := Listeners(t, agent)
	of := func(family uint32, loopback string) (addresses []netip.AddrPort) {
		var ready bpf.ConnectReadiness
		if err := readiness.Lookup(bpf.ConnectReadinessKey{Netns: netns.Cookie(t), Family: family}, &ready); err != nil {
			t.Fatalf("find the injector's listeners on %s: %v", loopback, err)
		}
		for _, port := range ready.Ports {
			at := netip.AddrPortFrom(netip.MustParseAddr(loopback), uint16(port))
			if !slices.Contains(listening, at) {
				t.Fatalf("the agent does not listen on %v, of which the kernel was told", at)
			}
			addresses = append(addresses, at)
		}
		return addresses
	}
	return of(unix.AF_INET, "127.0.0.1"), of(unix.AF_INET6, "::1")
}
