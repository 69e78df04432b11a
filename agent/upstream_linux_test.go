package agent

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

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
			flow := workload.Flow{Client: netip.AddrPortFrom(netip.MustParseAddr(c.client), 4000)}
			conn, err := upstream{}.Dial(t.Context(), flow, listener.Addr().(*net.TCPAddr).AddrPort())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if from := conn.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap(); from.String() != c.from {
				t.Errorf("dialled from %v, want %s", from, c.from)
			}
		})
	}
}

// A destination that vanished is noticed, at the host's own times.
func TestUpstreamIsKeptAliveAsTheHostSays(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := upstream{}.Dial(t.Context(), workload.Flow{}, listener.Addr().(*net.TCPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for name, option := range map[string]struct{ level, name, want int }{
		"SO_KEEPALIVE":  {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		"TCP_KEEPIDLE":  {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, hostSetting(t, "tcp_keepalive_time")},
		"TCP_KEEPINTVL": {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, hostSetting(t, "tcp_keepalive_intvl")},
		"TCP_KEEPCNT":   {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, hostSetting(t, "tcp_keepalive_probes")},
	} {
		if got := socketOption(t, conn, option.level, option.name); got != option.want {
			t.Errorf("%s is %d, want %d", name, got, option.want)
		}
	}
}

func hostSetting(t *testing.T, name string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc/sys/net/ipv4", name))
	if err != nil {
		t.Fatal(err)
	}
	value, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func socketOption(t *testing.T, conn syscall.Conn, level, name int) (value int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var optErr error
	if err := raw.Control(func(fd uintptr) { value, optErr = unix.GetsockoptInt(int(fd), level, name) }); err != nil || optErr != nil {
		t.Fatal(err, optErr)
	}
	return value
}
