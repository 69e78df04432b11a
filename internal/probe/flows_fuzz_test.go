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

// FuzzFlow reads anything as an entry of the kernel's map of flows. What comes out
// is a flow of a known kind or of none that anybody acts upon, with addresses as
// connections have them, and stale exactly when it is older than a flow's life.
func FuzzFlow(f *testing.F) {
	entry := binary.Size(bpf.ConnectFlowKey{}) + binary.Size(bpf.ConnectFlow{})
	f.Add(make([]byte, entry), uint64(0))
	f.Add(bytes.Repeat([]byte{0xff}, entry), uint64(flowLifetime))
	mapped := make([]byte, entry)
	copy(mapped[8+10:], "\xff\xff\x7f\x00\x00\x01")
	f.Add(mapped, ^uint64(0))
	unknown := make([]byte, entry)
	binary.NativeEndian.PutUint32(unknown[entry-8:], 1<<8+uint32(workload.FlowRedirected))
	f.Add(unknown, uint64(1))
	f.Fuzz(func(t *testing.T, entry []byte, now uint64) {
		var key bpf.ConnectFlowKey
		var raw bpf.ConnectFlow
		in := bytes.NewReader(entry)
		if binary.Read(in, binary.NativeEndian, &key) != nil || binary.Read(in, binary.NativeEndian, &raw) != nil {
			return
		}
		flow := flowOf(&key, &raw)
		for _, at := range []struct {
			got, raw string
		}{
			{flow.Client.Addr().String(), string(key.Local.Bytes[:])},
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
		if flow.Image.PID != raw.Tgid || flow.UID != raw.Uid || flow.GID != raw.Gid || flow.NetNS != raw.Netns || flow.CgroupID != raw.Cgroup {
			t.Errorf("flow %+v of %+v", flow, raw)
		}
		age := now - raw.Published
		if stale := isStale(&raw, now); stale != (now >= raw.Published && age > uint64(flowLifetime)) {
			t.Errorf("published %d, now %d: stale %t", raw.Published, now, stale)
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
