//go:build linux

package lab

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NetNS is a network namespace that lives as long as the test holds it. Its
// loopback device is up. It has no name: nothing of it remains on the host.
type NetNS struct {
	file  *os.File
	links *netlink.Handle
	veths int
}

// NewNetNS makes a network namespace.
func NewNetNS(t testing.TB) *NetNS {
	t.Helper()
	RequireRoot(t)
	var file *os.File
	err := onDisposableThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		var err error
		file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		t.Fatalf("make network namespace: %v", err)
	}
	links, err := netlink.NewHandleAt(vnetns.NsHandle(file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		file.Close()
		t.Fatalf("open netlink in the new network namespace: %v", err)
	}
	ns := &NetNS{file: file, links: links}
	t.Cleanup(func() {
		links.Close()
		file.Close()
	})
	ns.up(t, "lo")
	return ns
}

// Do runs f on a thread inside the namespace. Sockets that f makes stay in the
// namespace whoever uses them later; goroutines that f starts do not run in it.
func (n *NetNS) Do(f func() error) error {
	return onDisposableThread(func() error {
		if err := n.enter(); err != nil {
			return err
		}
		return f()
	})
}

// Cookie returns the number by which BPF programs know the namespace
// (SO_NETNS_COOKIE).
func (n *NetNS) Cookie(t testing.TB) uint64 {
	t.Helper()
	var cookie uint64
	err := n.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		return err
	})
	if err != nil {
		t.Fatalf("read cookie of network namespace: %v", err)
	}
	return cookie
}

// AddLocal gives the namespace's loopback device further addresses, written with
// their prefix length ("10.98.0.1/32", "fd98::1/128").
func (n *NetNS) AddLocal(t testing.TB, addresses ...string) {
	t.Helper()
	n.addAddresses(t, "lo", addresses)
}

// Connect joins two namespaces by a pair of veth devices with these addresses,
// written with their prefix length, and returns the name of the device in each.
func Connect(t testing.TB, a *NetNS, atA []string, b *NetNS, atB []string) (inA, inB string) {
	t.Helper()
	nameA, nameB := a.nextVeth(), b.nextVeth()
	pair := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: nameA},
		PeerName:      nameB,
		PeerNamespace: netlink.NsFd(b.file.Fd()),
	}
	if err := a.links.LinkAdd(pair); err != nil {
		t.Fatalf("add veth pair %s-%s: %v", nameA, nameB, err)
	}
	a.addAddresses(t, nameA, atA)
	b.addAddresses(t, nameB, atB)
	a.up(t, nameA)
	b.up(t, nameB)
	return nameA, nameB
}

// AddVRF makes a virtual routing and forwarding device with a routing table of
// its own, and puts these devices into it. Not every kernel has such devices:
// Debian's does (test/kernel).
func (n *NetNS) AddVRF(t testing.TB, name string, table uint32, devices ...string) {
	t.Helper()
	if err := n.links.LinkAdd(&netlink.Vrf{LinkAttrs: netlink.LinkAttrs{Name: name}, Table: table}); err != nil {
		t.Fatalf("add VRF device %s: %v", name, err)
	}
	n.up(t, name)
	vrf, err := n.links.LinkByName(name)
	if err != nil {
		t.Fatalf("find %s: %v", name, err)
	}
	for _, device := range devices {
		member, err := n.links.LinkByName(device)
		if err == nil {
			err = n.links.LinkSetMaster(member, vrf)
		}
		if err != nil {
			t.Fatalf("put %s into VRF %s: %v", device, name, err)
		}
	}
}

// AddRoute routes a prefix to a gateway.
func (n *NetNS) AddRoute(t testing.TB, prefix, gateway string) {
	t.Helper()
	destination, err := netlink.ParseIPNet(prefix)
	if err != nil {
		t.Fatalf("parse prefix: %v", err)
	}
	via, err := netlink.ParseAddr(gateway + hostBits(gateway))
	if err != nil {
		t.Fatalf("parse gateway: %v", err)
	}
	if err := n.links.RouteAdd(&netlink.Route{Dst: destination, Gw: via.IP}); err != nil {
		t.Fatalf("add route %s via %s: %v", prefix, gateway, err)
	}
}

// AddBlackhole makes the namespace drop what goes to a prefix without a word, as
// a dead network does: the sender gets no answer.
func (n *NetNS) AddBlackhole(t testing.TB, prefix string) {
	t.Helper()
	n.addDeadEnd(t, prefix, unix.RTN_BLACKHOLE)
}

// AddUnreachable makes the namespace refuse what goes to a prefix, as it does where a
// router says that it cannot get there.
func (n *NetNS) AddUnreachable(t testing.TB, prefix string) {
	t.Helper()
	n.addDeadEnd(t, prefix, unix.RTN_UNREACHABLE)
}

func (n *NetNS) addDeadEnd(t testing.TB, prefix string, kind int) {
	t.Helper()
	destination, err := netlink.ParseIPNet(prefix)
	if err != nil {
		t.Fatalf("parse prefix: %v", err)
	}
	if err := n.links.RouteAdd(&netlink.Route{Dst: destination, Type: kind}); err != nil {
		t.Fatalf("add dead end %s: %v", prefix, err)
	}
}

func hostBits(address string) string {
	for _, c := range address {
		if c == ':' {
			return "/128"
		}
	}
	return "/32"
}

func (n *NetNS) nextVeth() string {
	name := fmt.Sprintf("veth%d", n.veths)
	n.veths++
	return name
}

func (n *NetNS) addAddresses(t testing.TB, device string, addresses []string) {
	t.Helper()
	link, err := n.links.LinkByName(device)
	if err != nil {
		t.Fatalf("find %s: %v", device, err)
	}
	for _, text := range addresses {
		address, err := netlink.ParseAddr(text)
		if err != nil {
			t.Fatalf("parse address: %v", err)
		}
		// Without duplicate address detection an IPv6 address is usable at once.
		address.Flags = unix.IFA_F_NODAD
		if err := n.links.AddrAdd(link, address); err != nil {
			t.Fatalf("add %s to %s: %v", text, device, err)
		}
	}
}

func (n *NetNS) up(t testing.TB, device string) {
	t.Helper()
	link, err := n.links.LinkByName(device)
	if err != nil {
		t.Fatalf("find %s: %v", device, err)
	}
	if err := n.links.LinkSetUp(link); err != nil {
		t.Fatalf("set %s up: %v", device, err)
	}
}

// enter moves the calling thread into the namespace.
func (n *NetNS) enter() error {
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return nil
}

// onDisposableThread runs f on a thread that ends afterwards, so that f may change
// the thread's namespaces. The process's first thread is never used: it cannot
// end, and its namespaces are what /proc/self shows.
func onDisposableThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// While this goroutine holds the first thread, another gets another one.
			result <- onDisposableThread(f)
			runtime.UnlockOSThread()
			return
		}
		result <- f() // the thread ends with the goroutine, which stays locked to it
	}()
	return <-result
}
