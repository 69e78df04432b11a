package agent

import (
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

func TestUpstreamStartsWhereTheClientDid(t *testing.T) {
	for _, c := range []struct{ name, listener, client, from string }{
		{"not bound", "127.0.0.1:0", "127.0.0.1", "127.0.0.1"},
		{"bound", "127.0.0.1:0", "127.0.0.9", "127.0.0.9"},
		{"IPv6", "[::1]:0", "::1", "::1"},
		{"bound to the other family", "[::1]:0", "127.0.0.9", "::1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			listener, err := net.Listen("tcp", c.listener)
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			exempted := 0
			dialer := upstream{exempt: func(string, string, syscall.RawConn) error { exempted++; return nil }}
			flow := workload.Flow{Client: netip.AddrPortFrom(netip.MustParseAddr(c.client), 4000)}
			conn, err := dialer.Dial(t.Context(), flow, listener.Addr().(*net.TCPAddr).AddrPort())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if from := conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap(); from.String() != c.from {
				t.Errorf("dialled from %v, want %s", from, c.from)
			}
			if exempted != 1 {
				t.Errorf("exempted %d sockets, want 1: the hooks would send it back to us", exempted)
			}
		})
	}
}
