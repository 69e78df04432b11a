//go:build lanyard_guest

package guestcheck

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestKernelIsDebians61(t *testing.T) {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil || !strings.HasPrefix(string(release), "6.1.") {
		t.Errorf("kernel is %q (%v), want 6.1", release, err)
	}
}

func TestMounts(t *testing.T) {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"/sys/fs/cgroup cgroup2 ", "/sys/fs/bpf bpf "} {
		t.Run(strings.Fields(want)[1], func(t *testing.T) {
			if !strings.Contains(string(mounts), " "+want) {
				t.Errorf("not mounted: %s", want)
			}
		})
	}
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		t.Errorf("the kernel has no type information: %v", err)
	}
}

// Tests give themselves other names; a copy of a program for each takes a second.
func TestProgramCanBeLinked(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Link(self, filepath.Join(t.TempDir(), "link")); err != nil {
		t.Error(err)
	}
}

func TestLoopbackIsUp(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Error(err)
			continue
		}
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Error(err)
		} else {
			conn.Close()
		}
		listener.Close()
	}
}

func TestToolsAndModules(t *testing.T) {
	output, err := exec.Command("sh", "-c", "cut -d' ' -f1 /proc/modules | sort").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range []string{"vrf", "veth"} {
		if !strings.Contains(fmt.Sprintf("\n%s", output), "\n"+module+"\n") {
			t.Errorf("module %s is not loaded; these are:\n%s", module, output)
		}
	}
}
