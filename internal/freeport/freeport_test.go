package freeport

import (
	"net"
	"net/netip"
	"testing"
)

func TestAddress(t *testing.T) {
	taken := map[string]bool{}
	for range 200 {
		found, err := Address()
		if err != nil {
			t.Fatal(err)
		}
		address, err := netip.ParseAddrPort(found)
		if err != nil || !address.Addr().IsLoopback() || address.Port() < first || address.Port() >= last {
			t.Fatalf("found %q, %v", found, err)
		}
		if taken[found] {
			t.Fatalf("%s is taken", found)
		}
		taken[found] = true
		listener, err := net.Listen("tcp", found)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
	}
}
