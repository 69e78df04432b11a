//go:build linux

package lab

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Listeners lists the addresses on which a process accepts TCP connections, in its
// own network namespace.
func Listeners(t testing.TB, pid int) []netip.AddrPort {
	t.Helper()
	folder := filepath.Join("/proc", strconv.Itoa(pid))
	own := ownSockets(t, filepath.Join(folder, "fd"))
	var listeners []netip.AddrPort
	for _, family := range []string{"tcp", "tcp6"} {
		table, err := os.ReadFile(filepath.Join(folder, "net", family))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			t.Fatalf("list sockets: %v", err)
		}
		for line := range strings.Lines(string(table)) {
			// sl, local address, remote address, state, … inode: see proc_pid_net(5).
			fields := strings.Fields(line)
			if len(fields) < 10 || fields[3] != "0A" || !slices.Contains(own, "socket:["+fields[9]+"]") {
				continue
			}
			address, err := parseSocketAddress(fields[1])
			if err != nil {
				t.Fatalf("list sockets: %v", err)
			}
			listeners = append(listeners, address)
		}
	}
	return listeners
}

// ownSockets lists the sockets that a process has open, as /proc names them.
func ownSockets(t testing.TB, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatalf("list open files: %v", err)
	}
	var sockets []string
	for _, entry := range entries {
		if name, err := os.Readlink(filepath.Join(folder, entry.Name())); err == nil {
			sockets = append(sockets, name)
		}
	}
	return sockets
}

// parseSocketAddress reads "0100007F:0BC5": the address as one or four numbers of
// the machine's byte order, here little endian, and the port.
func parseSocketAddress(text string) (netip.AddrPort, error) {
	addressText, portText, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(addressText)
	if err != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, fmt.Errorf("read socket address %q", text)
	}
	port, err := strconv.ParseUint(portText, 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("read socket address %q", text)
	}
	for number := range slices.Chunk(raw, 4) {
		slices.Reverse(number)
	}
	address, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(address, uint16(port)), nil
}
