//go:build linux

package probe

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// FuzzFlow reads anything as what the kernel keeps with a socket. What comes out is
// a flow of a known kind or of none that anybody acts upon, with addresses as
// connections have them.
func FuzzFlow(f *testing.F) {
	size := binary.Size(bpf.ConnectSocket{})
	f.Add(make([]byte, size))
	f.Add(bytes.Repeat([]byte{0xff}, size))
	mapped := make([]byte, size)
	copy(mapped[size-48+10:], "\xff\xff\x7f\x00\x00\x01")
	f.Add(mapped)
	f.Fuzz(func(t *testing.T, bytesOfSocket []byte) {
		var state bpf.ConnectSocket
		if binary.Read(bytes.NewReader(bytesOfSocket), binary.NativeEndian, &state) != nil {
			return
		}
		flow, raw := flowOf(&state), &state.Flow
		for _, at := range []struct {
			got, raw string
		}{
			{flow.Client.Addr().String(), string(state.Key.Local.Bytes[:])},
			{flow.Original.Addr().String(), string(raw.Original.Bytes[:])},
		} {
			if mapped := strings.HasPrefix(at.raw, strings.Repeat("\x00", 10)+"\xff\xff"); mapped == strings.Contains(at.got, ":") {
				t.Errorf("address %x became %s", at.raw, at.got)
			}
		}
		if !flow.Client.IsValid() || !flow.Original.IsValid() || flow.Client.Addr().Zone() != "" {
			t.Errorf("flow %+v", flow)
		}
		known := []workload.FlowKind{workload.FlowRedirected, workload.FlowLocalAPI}
		if slices.Contains(known, flow.Kind) != (raw.Kind == 1 || raw.Kind == 2) {
			t.Errorf("kind %d became %d", raw.Kind, flow.Kind)
		}
		if flow.Image.PID != raw.Tgid || flow.UID != raw.Uid || flow.GID != raw.Gid || flow.NetNS != raw.Netns || flow.CgroupID != raw.Cgroup ||
			flow.PlaceID != raw.Place || flow.OfUser != (raw.PartyUid != raw.Uid) {
			t.Errorf("flow %+v of %+v", flow, raw)
		}
		if flow.File.Inode != raw.File.Inode || flow.Share != (workload.Share{Budget: raw.Account.Budget, Place: raw.Account.Place, Shared: raw.Shared != 0}) {
			t.Errorf("flow %+v of %+v", flow, raw)
		}
	})
}

// FuzzMountinfo finds a cgroup2 root in anything, and in a well-formed table the
// one that was put there.
func FuzzMountinfo(f *testing.F) {
	f.Add("25 30 0:23 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup")
	f.Add("1 2 0:1 /a\\040b /c rw - overlay o rw,lowerdir=x:y\n\n", "/a b\t\\c")
	f.Add("x - cgroup2 y\n1 2 3 /.. /x - cgroup2 c\n", "")
	f.Add("", "/\u00a0\v\x85")
	f.Add("1 2 0:1 / / rw - overlay o rw,lowerdir="+strings.Repeat("/layer:", 10_000), "/c")
	f.Fuzz(func(t *testing.T, table, point string) {
		if root, err := cgroupRootIn(strings.NewReader(table)); err == nil && root == "" {
			t.Error("neither a root nor an error")
		}
		if !strings.HasPrefix(point, "/") || strings.Contains(table, "cgroup2") || strings.ContainsRune(point, 0) {
			return
		}
		if table != "" && !strings.HasSuffix(table, "\n") {
			table += "\n"
		}
		escaped := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(point)
		table += "25 30 0:23 / " + escaped + " rw shared:9 - cgroup2 cgroup2 rw\n"
		if root, err := cgroupRootIn(strings.NewReader(table)); err != nil || root != point {
			t.Errorf("%q, %v; want %q in\n%q", root, err, point, table)
		}
	})
}
