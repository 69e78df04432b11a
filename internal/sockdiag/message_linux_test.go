package sockdiag

import (
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// What is no socket of the namespace asked about, or is cut off, is an error and no
// crash; what is read can be held against an address.
func FuzzMessage(f *testing.F) {
	q := query{family: unix.AF_INET, local: netip.MustParseAddrPort("127.0.0.1:1"), remote: netip.MustParseAddrPort("127.0.0.1:2")}
	f.Add(q.append(nil, 1))
	f.Add(append(make([]byte, sizeofMessage), 12, 0, attrCgroupID, 0, 1, 2, 3, 4, 5, 6, 7, 8, 5, 0, attrV6Only, 0, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; len(rest) > 0; {
			a, left, err := next(rest)
			if err != nil {
				break
			}
			_ = a.failure()
			if len(left) >= len(rest) {
				t.Fatal("no progress")
			}
			rest = left
		}
		if s, err := parseSocket(b); err == nil {
			_ = s.takes(netip.MustParseAddrPort("127.0.0.1:80"))
		}
	})
}

func TestSizesAreTheKernels(t *testing.T) {
	q := query{family: unix.AF_INET6, local: netip.MustParseAddrPort("[::1]:1"), remote: netip.MustParseAddrPort("[::1]:2")}
	if n := len(q.append(nil, 1)); n != 72 {
		t.Errorf("a query has %d bytes", n)
	}
}

func TestListenersOfAnAddress(t *testing.T) {
	d, err := Open()
	must(t, err)
	defer func() { must(t, d.Close()) }()
	for _, k := range []struct {
		network, listen string
		takes, not      []string
	}{
		{"tcp4", "127.0.0.1:0", []string{"127.0.0.1", "::ffff:127.0.0.1"}, []string{"127.0.0.2", "::1"}},
		{"tcp4", "0.0.0.0:0", []string{"127.0.0.1", "127.0.0.2"}, []string{"::1"}},
		{"tcp6", "[::1]:0", []string{"::1"}, []string{"127.0.0.1", "::2"}},
		{"tcp6", "[::]:0", []string{"::1", "::2"}, []string{"127.0.0.1"}},
		{"tcp", "[::]:0", []string{"::1", "127.0.0.1"}, nil},
	} {
		l, err := net.Listen(k.network, k.listen)
		must(t, err)
		count := func(address string) int {
			at := netip.AddrPortFrom(netip.MustParseAddr(address), l.Addr().(*net.TCPAddr).AddrPort().Port())
			found, err := d.Listeners(at)
			must(t, err)
			return len(found)
		}
		for _, address := range k.takes {
			if n := count(address); n != 1 {
				t.Errorf("%s %s: %d listeners take %s, want 1", k.network, k.listen, n, address)
			}
		}
		for _, address := range k.not {
			if n := count(address); n != 0 {
				t.Errorf("%s %s: %d listeners take %s, want none", k.network, k.listen, n, address)
			}
		}
		must(t, l.Close())
	}
}

func TestClosedDiagAnswersNothing(t *testing.T) {
	d, err := Open()
	must(t, err)
	must(t, d.Close())
	must(t, d.Close())
	if _, err := d.Listeners(netip.MustParseAddrPort("127.0.0.1:80")); err == nil {
		t.Error("a closed one answers")
	}
}
