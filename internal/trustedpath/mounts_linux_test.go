package trustedpath

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

// volume is what Kubernetes mounts of a ConfigMap, or a Secret with fsGroup: all of it
// is root's, and the folder is one in which everybody could make files, and not sticky.
func (d tree) volume(mode os.FileMode) string {
	d.t.Helper()
	d.give(d.folder("volume", 0o777), 0)
	d.give(d.folder("volume/..2026", 0o755), 0)
	file := d.file("volume/..2026/key", mode)
	d.give(d.link("..2026", "volume/..data"), 0)
	d.give(d.link("..data/key", "volume/key"), 0)
	if err := os.Lchown(file, 0, mountGroup); err != nil {
		d.t.Fatal(err)
	}
	return d.in("volume/key")
}

// inVolume is a file of an owner's in the volume.
func (d tree) inVolume(uid int) string {
	d.t.Helper()
	d.volume(0o444)
	return d.give(d.file("volume/f", 0o600), uid)
}

// mountCases are cases of what is on a read-only mount, by the user who reads.
var mountCases = map[string]struct {
	uid  uint32
	rule string
	make func(d tree) string
	want string
}{
	"a configuration":              {0, "given", func(d tree) string { return d.volume(0o644) }, ""},
	"a configuration, not root":    {ordinary, "given", func(d tree) string { return d.volume(0o644) }, ""},
	"a key":                        {0, "given secret", func(d tree) string { return d.volume(0o400) }, ""},
	"a key for a group":            {ordinary, "given secret", func(d tree) string { return d.volume(0o440) }, ""},
	"a key for a group, root":      {0, "given secret", func(d tree) string { return d.volume(0o440) }, "has mode 0440, which lets others in; its mount is read-only"},
	"a key for all":                {ordinary, "given secret", func(d tree) string { return d.volume(0o444) }, "has mode 0444, which lets others in; its mount is read-only"},
	"a key that a group can write": {ordinary, "given secret", func(d tree) string { return d.volume(0o460) }, "lets others in"},
	"writable":                     {0, "given", func(d tree) string { return d.volume(0o666) }, "so others can change it; its mount is read-only: change what is mounted"},
	"a link where none may be":     {0, "secret", func(d tree) string { return d.volume(0o400) }, "is a link"},
	"our own file":                 {ordinary, "secret", func(d tree) string { return d.inVolume(ordinary) }, ""},
	"a stranger's file":            {0, "given", func(d tree) string { return d.inVolume(stranger) }, "belongs to user id 65533, not to root; its mount is read-only"},
	"a stranger's link": {0, "given", func(d tree) string {
		d.volume(0o444)
		return d.give(d.link("..data/key", "volume/l"), stranger)
	}, "l belongs to user id 65533"},
	"a stranger's folder": {0, "given", func(d tree) string {
		path := d.volume(0o444)
		d.give(d.in("volume"), stranger)
		return path
	}, "volume belongs to user id 65533"},
	"our own folder, of everybody's": {ordinary, "given", func(d tree) string {
		d.folder("a", 0o777)
		return d.file("a/f", 0o600)
	}, "a is a folder in which others can put files"},
}

// TestReadOnlyMount: what Kubernetes mounts is read, since nobody changes it there.
func TestReadOnlyMount(t *testing.T) {
	lab.RequireRoot(t)
	for name, k := range mountCases {
		t.Run(name, func(t *testing.T) {
			d := tree{t: t, path: passable(t), self: int(k.uid)}
			path := k.make(d)
			cmd := child(t, "open mounted", 0, d.path, fmt.Sprint(k.uid))
			cmd.Args = []string{"open", d.path, fmt.Sprint(k.uid)}
			cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			got := answersOf(t, cmd, []attempt{{Path: path, Rule: k.rule}})[0]
			if k.want == "" && (got.Error != "" || got.Content != "content") {
				t.Errorf("%q, %s", got.Content, got.Error)
			}
			if k.want != "" && (!strings.Contains(got.Error, k.want) || got.Content != "" || strings.Contains(got.Error, "run ch")) {
				t.Errorf("%q, %s; want %s, and no command", got.Content, got.Error, k.want)
			}
			if refused := openAll(t, 0, []attempt{{Path: path, Rule: k.rule}})[0]; k.want == "" && refused.Error == "" {
				t.Errorf("it is read where it can be written: %q", refused.Content)
			}
		})
	}
}

// TestFolderOfAGroup: a folder that root has given to a group of ours is refused, and no
// command is named that only root could run without saying so.
func TestFolderOfAGroup(t *testing.T) {
	lab.RequireRoot(t)
	d := tree{t: t, path: passable(t), self: ordinary}
	d.folder("data", 0o770|os.ModeSetgid)
	if err := os.Lchown(d.in("data"), 0, ordinary); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(d.in("data"), 0o770|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	path := d.file("data/f", 0o600)
	got := openAll(t, ordinary, []attempt{{Path: path, Rule: "secret"}})[0]
	if want := fmt.Sprintf("run as root: chown %d %s && chmod 700 %s", ordinary, filepath.Dir(path), filepath.Dir(path)); !strings.Contains(got.Error, want) {
		t.Errorf("%q, %s; want %s", got.Content, got.Error, want)
	}
}
