//go:build linux

package probe

import (
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

func TestCgroupRootInMountTable(t *testing.T) {
	const others = "22 1 0:20 / /sys rw,nosuid - sysfs sysfs rw\n24 22 0:22 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
	for _, test := range []struct {
		name, mounts, root, err string
	}{
		{"pure", others + "25 22 0:23 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n", "/sys/fs/cgroup", ""},
		{"hybrid", "24 22 0:22 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n" + others + "25 22 0:23 / /sys/fs/cgroup/unified rw - cgroup2 none rw,nsdelegate\n", "/sys/fs/cgroup/unified", ""},
		{"several optional fields", "25 22 0:23 / /cg rw shared:9 master:2 propagate_from:3 - cgroup2 cgroup2 rw\n", "/cg", ""},
		{"escaped", `25 22 0:23 / /mnt/a\040b\134c\011d\012e rw - cgroup2 cgroup2 rw` + "\n", "/mnt/a b\\c\td\ne", ""},
		{"part only", "25 22 0:23 /system.slice/x /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n", "", "/sys/fs/cgroup shows a part"},
		{"part and whole", "25 22 0:23 /system.slice/x /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n26 22 0:23 / /host/cgroup ro - cgroup2 cgroup2 rw\n", "/host/cgroup", ""},
		{"version 1 only", others, "", "no cgroup2 is mounted; mount it"},
		{"empty", "", "", "no cgroup2 is mounted"},
		{"short line", "25 22 - cgroup2 cgroup2 rw\n", "", "no cgroup2 is mounted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			root, err := cgroupRootIn(strings.NewReader(test.mounts))
			if root != test.root || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("root %q (%v), want %q (%s)", root, err, test.root, test.err)
			}
		})
	}
}

func TestCgroupID(t *testing.T) {
	cgroup := lab.NewCgroup(t)
	if id, err := cgroupID(cgroup.Path); id != cgroup.ID || err != nil {
		t.Errorf("id is %d (%v), want %d", id, err, cgroup.ID)
	}
	if _, err := cgroupID(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a cgroup2 folder") {
		t.Errorf("id of a plain folder: %v", err)
	}
	if _, err := cgroupID(cgroup.Path + "/nothing"); err == nil {
		t.Error("a folder that does not exist has an id")
	}
}

func TestCgroupRootOfThisHost(t *testing.T) {
	want := lab.CgroupRoot(t)
	if root, err := CgroupRoot(); root != want || err != nil {
		t.Errorf("root is %q (%v), want %q", root, err, want)
	}
}
