//go:build linux

package lab

import (
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

func TestObjectsThatRemainAreNamed(t *testing.T) {
	RequireRoot(t)
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "lab_test", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	held := HeldBPF(t, os.Getpid())
	if err := held.checkGone(); err == nil || !strings.Contains(err.Error(), "still exists") {
		t.Errorf("an open map was said to be gone: %v", err)
	}
	m.Close()
	held.RequireGone(t)
}

func TestEntriesAreCountedByMap(t *testing.T) {
	RequireRoot(t)
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "lab_entries", Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for want := range 4 {
		if got := HeldBPF(t, os.Getpid()).Entries(t)["lab_entries"]; got != want {
			t.Errorf("counted %d entries, want %d", got, want)
		}
		if err := m.Put(uint32(want), uint32(1)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMountTable(t *testing.T) {
	for _, test := range []struct{ line, point, kind string }{
		{"30 1 0:26 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw", "/sys/fs/cgroup/unified", "cgroup2"},
		{`31 1 0:27 / /mnt/a\040b rw - bpf bpf rw`, "/mnt/a b", "bpf"},
		{"31 1 0:27 / /mnt rw", "", ""},
	} {
		point, kind, ok := parseMount(test.line)
		if point != test.point || kind != test.kind || ok != (test.kind != "") {
			t.Errorf("parseMount(%q) = %q, %q, %v", test.line, point, kind, ok)
		}
	}
}
