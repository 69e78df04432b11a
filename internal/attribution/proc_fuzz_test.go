//go:build linux

package attribution

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// FuzzStatus reads anything as /proc/PID/status: an answer is that of exactly the
// lines that the kernel writes, whatever a process calls itself.
func FuzzStatus(f *testing.F) {
	f.Add("Name:\tcat\nUmask:\t0022\n", uint32(0), uint32(0))
	f.Add("Name:\tUid:\t0\t0\t0\t0\\nGid\n", uint32(1000), uint32(1<<32-1))
	f.Add("Uid:\t1\t1\t1\t1\nUid:\t2\t2\t2\t2\n", uint32(5), uint32(6))
	f.Fuzz(func(t *testing.T, before string, uid, gid uint32) {
		hasUID, hasGID := strings.Contains(before, "Uid:"), strings.Contains(before, "Gid:")
		if _, _, ok := parseStatus(before); ok && !(hasUID && hasGID) {
			t.Error("ids without their lines")
		}
		if hasUID || hasGID {
			return
		}
		status := fmt.Sprintf("%s\nUid:\t1\t%d\t2\t3\nGid:\t4\t%d\t5\t6\nFDSize:\t64\n", before, uid, gid)
		if u, g, ok := parseStatus(status); !ok || u != uid || g != gid {
			t.Errorf("%d, %d, %t; want %d, %d", u, g, ok, uid, gid)
		}
	})
}

// FuzzCgroup reads anything as /proc/PID/cgroup.
func FuzzCgroup(f *testing.F) {
	f.Add("0::/system.slice/cron.service\n")
	f.Add("1:name=systemd:/a\n0::/../x\n0::\n0::/b (deleted)\n")
	f.Add("0::/user.slice/user-1.slice/user@1.service/app.slice/x.service\n")
	f.Fuzz(func(t *testing.T, text string) {
		path := parseCgroup(text)
		if path != "" && (path[0] != '/' || strings.Contains(path, "\n") || !strings.Contains(text, "0::"+path) || strings.HasPrefix(path, "/../")) {
			t.Errorf("path %q", path)
		}
		if unit := workload.SystemdUnit(path); unit != "" && (!strings.Contains(path, unit) || strings.Contains(unit, "/") ||
			strings.HasSuffix(unit, ".slice") || strings.HasPrefix(unit, "user@")) {
			t.Errorf("unit %q of %q", unit, path)
		}
	})
}

// FuzzMounts reads anything as a mount table, and finds in each line that the
// kernel could write what it says.
func FuzzMounts(f *testing.F) {
	f.Add("25 30 0:23 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n", uint64(25), "/", "/mnt")
	f.Add("x\n1 2 0:1 /a\\040b /c rw - overlay o rw,lowerdir=x:y", uint64(1), "/a b", "/c\td\n\\134")
	f.Add("1 2 3 4 5 6 - ", uint64(1<<64-1), "/ - x", "/\u00a0\v\x85\r")
	f.Fuzz(func(t *testing.T, table string, id uint64, root, point string) {
		if mounts, err := parseMounts(strings.NewReader(table)); err == nil && len(mounts) > strings.Count(table, "\n")+1 {
			t.Errorf("%d mounts", len(mounts))
		}
		if !strings.HasPrefix(root, "/") || !strings.HasPrefix(point, "/") || strings.Contains(root+point, "\x00") {
			return
		}
		escape := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace
		line := fmt.Sprintf("%d 1 0:23 %s %s rw,nosuid shared:9 master:1 - ext4 /dev/vda rw", id, escape(root), escape(point))
		m, err := parseMount(line)
		if want := (mount{id: id, device: unix.Mkdev(0, 23), root: root, point: point, fsType: "ext4"}); err != nil || m != want {
			t.Errorf("%+v, %v; want %+v", m, err, want)
		}
	})
}
