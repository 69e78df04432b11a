package attribution

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// look attributes a child as the only image of its process.
func look(t *testing.T, c *child) *workload.Process {
	t.Helper()
	i := c.image(1)
	return mustAttribute(t, attributor(t, newRecord(i)), workload.Flow{Image: i})
}

func digestOf(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func TestRealProcess(t *testing.T) {
	path := program(t, filepath.Join(folder(t), "billing"))
	c := start(t, exec.Command(path, "-", "", "-u"))
	c.running(t, "billing")
	i := c.image(1)
	p := mustAttribute(t, attributor(t, newRecord(i)), workload.Flow{Image: i, UID: 0, GID: 7})
	if p.Executable != path || p.ExecutableNote != "" {
		t.Errorf("executable %q, note %q", p.Executable, p.ExecutableNote)
	}
	if p.SHA256 != digestOf(t, path) {
		t.Errorf("digest %q", p.SHA256)
	}
	if !slices.Equal(p.CommandLine, []string{path, "-", "", "-u"}) {
		t.Errorf("command line %q", p.CommandLine)
	}
	if p.Image != i || p.UID != 0 || p.GID != 7 || p.User != "root" || p.Group != "" {
		t.Errorf("got %+v", p)
	}
}

func TestFactsThatNobodyWantsAreNotRead(t *testing.T) {
	c := start(t, exec.Command(program(t, filepath.Join(folder(t), "plain"))))
	c.running(t, "plain")
	i := c.image(1)
	a := attributor(t, newRecord(i), func(c *Config) { c.Interest = nil })
	if p := mustAttribute(t, a, workload.Flow{Image: i}); p.SHA256 != "" || p.CommandLine != nil {
		t.Errorf("got %+v", p)
	}
	a.SetInterest(Always(Facts{SHA256: true}))
	if p := mustAttribute(t, a, workload.Flow{Image: i}); p.SHA256 == "" || p.CommandLine != nil {
		t.Errorf("got %+v", p)
	}
}

func TestUpgradedProgramKeepsItsPath(t *testing.T) {
	for name, replace := range map[string]func(path string) error{
		"removed": os.Remove,
		"replaced": func(path string) error {
			if err := os.WriteFile(path+".new", []byte("next version"), 0o755); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			needRoot(t) // process 1's mount table is root's to read
			path := program(t, filepath.Join(folder(t), "server"))
			digest := digestOf(t, path)
			c := start(t, exec.Command(path))
			c.running(t, "server")
			if err := replace(path); err != nil {
				t.Fatal(err)
			}
			p := look(t, c)
			if p.Executable != path || p.SHA256 != digest {
				t.Errorf("executable %q, note %q, digest %q", p.Executable, p.ExecutableNote, p.SHA256)
			}
		})
	}
}

func TestNameThatIsGoneWhileAnotherStaysDoesNotCount(t *testing.T) {
	path := program(t, filepath.Join(folder(t), "server"))
	if err := os.Link(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	c := start(t, exec.Command(path))
	c.running(t, "server")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if p := look(t, c); p.Executable != "" || !strings.Contains(p.ExecutableNote, "restart") {
		t.Errorf("executable %q, note %q", p.Executable, p.ExecutableNote)
	}
}

func TestNameThatEndsLikeADeletedOneCounts(t *testing.T) {
	path := program(t, filepath.Join(folder(t), "odd"+deletedSuffix))
	c := start(t, exec.Command(path))
	c.running(t, "odd")
	if p := look(t, c); p.Executable != path {
		t.Errorf("executable %q, note %q", p.Executable, p.ExecutableNote)
	}
}

// memory makes a file without a path that holds the program.
func memoryFile(t *testing.T, name, path string) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { f.Close() })
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestMemoryFileHasNoPath(t *testing.T) {
	path := program(t, filepath.Join(folder(t), "real"))
	f := memoryFile(t, "real", path)
	// Executed through the number that it has in the child.
	cmd := exec.Command("/proc/self/fd/3")
	cmd.ExtraFiles = []*os.File{f}
	c := start(t, cmd)
	c.running(t, "memfd:")
	p := look(t, c)
	if p.Executable != "" || !strings.Contains(p.ExecutableNote, "memfd") {
		t.Errorf("executable %q, note %q", p.Executable, p.ExecutableNote)
	}
	if p.SHA256 != digestOf(t, path) {
		t.Errorf("digest %q, note %q", p.SHA256, p.ExecutableNote)
	}
}

// TestBindMountOverExecutable is the attack of an unprivileged user who makes a
// namespace in which his own program has the registered path.
func TestBindMountOverExecutable(t *testing.T) {
	dir := folder(t)
	registered, evil := program(t, filepath.Join(dir, "curl")), program(t, filepath.Join(dir, "evil"))
	c := start(t, inUserNamespace(helper(t, "bind", evil, registered)))
	c.running(t, "curl")
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", c.pid()))
	if err != nil || exe != registered {
		t.Fatalf("the attack does not work here: the kernel says %q, %v", exe, err)
	}
	if p := look(t, c); p.Executable != "" || !strings.Contains(p.ExecutableNote, registered) {
		t.Errorf("executable %q, note %q", p.Executable, p.ExecutableNote)
	}
	// Nor once the file is gone, which looks like an upgrade.
	if err := os.Remove(evil); err != nil {
		t.Fatal(err)
	}
	if p := look(t, c); p.Executable != "" {
		t.Errorf("executable %q of a deleted file", p.Executable)
	}
}

// TestExecutableOfAnotherNamespace is the same attack from without: the process
// is in the host's own mount namespace, and only its executable is not.
func TestExecutableOfAnotherNamespace(t *testing.T) {
	dir := folder(t)
	registered, evil := program(t, filepath.Join(dir, "curl")), program(t, filepath.Join(dir, "evil"))
	holder := start(t, inUserNamespace(helper(t, "hold", evil, registered)))
	holder.line(t)
	c := start(t, exec.Command(fmt.Sprintf("/proc/%d/root%s", holder.pid(), registered)))
	c.running(t, "curl")
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", c.pid()))
	if err != nil || exe != registered {
		t.Fatalf("the attack does not work here: the kernel says %q, %v", exe, err)
	}
	if p := look(t, c); p.Executable != "" {
		t.Errorf("executable %q", p.Executable)
	}
	if err := os.Remove(evil); err != nil {
		t.Fatal(err)
	}
	if p := look(t, c); p.Executable != "" {
		t.Errorf("executable %q of a deleted file", p.Executable)
	}
}

func TestSameFileCountsInAnyNamespace(t *testing.T) {
	dir := folder(t)
	path := program(t, filepath.Join(dir, "curl"))
	other := program(t, filepath.Join(dir, "other"))
	holder := start(t, inUserNamespace(helper(t, "hold", other, other)))
	holder.line(t)
	inside := start(t, exec.Command(fmt.Sprintf("/proc/%d/root%s", holder.pid(), path)))
	inside.running(t, "curl")
	if p := look(t, inside); p.Executable != path {
		t.Errorf("executable %q, note %q", p.Executable, p.ExecutableNote)
	}
}

// TestUpgradeInAnotherNamespaceDoesNotCount has a process of another namespace
// execute a file through a mount of the host, and then takes the file away.
func TestUpgradeInAnotherNamespaceDoesNotCount(t *testing.T) {
	dir := folder(t)
	path := program(t, filepath.Join(dir, "curl"))
	host, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	cmd := inUserNamespace(helper(t, "exec", "/proc/self/fd/3/curl"))
	cmd.ExtraFiles = []*os.File{host}
	c := start(t, cmd)
	c.line(t)
	if _, err := io.WriteString(c.stdin, "\n"); err != nil {
		t.Fatal(err)
	}
	c.running(t, "curl")
	if p := look(t, c); p.Executable != path {
		t.Fatalf("executable %q, note %q", p.Executable, p.ExecutableNote)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if p := look(t, c); p.Executable != "" || !strings.Contains(p.ExecutableNote, "namespace of its own") {
		t.Errorf("executable %q, note %q", p.Executable, p.ExecutableNote)
	}
}

// TestOtherMountsThanTheHost lets the agent see a root in which the program is
// not: the path counts by process 1's mount namespace alone.
func TestOtherMountsThanTheHost(t *testing.T) {
	needRoot(t)
	path := program(t, filepath.Join(folder(t), "curl"))
	c := start(t, exec.Command(path))
	c.running(t, "curl")
	i := c.image(1)
	a := attributor(t, newRecord(i), func(c *Config) { c.Root = folder(t) })
	if p := mustAttribute(t, a, workload.Flow{Image: i}); p.Executable != path {
		t.Errorf("executable %q, note %q", p.Executable, p.ExecutableNote)
	}
}

func TestFirstThreadThatEndedHidesNothing(t *testing.T) {
	c := start(t, helper(t, "leader"))
	c.line(t)
	until(t, func() bool {
		_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", c.pid()))
		return errors.Is(err, os.ErrNotExist)
	})
	self, err := filepath.EvalSymlinks("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if p := look(t, c); p.Executable != self || p.SHA256 == "" || len(p.CommandLine) == 0 {
		t.Errorf("got %+v", p)
	}
}

func TestOverlayOfAnotherUserHasNoDigest(t *testing.T) {
	needRoot(t) // to make the overlay that counts
	lower, top := folder(t), folder(t)
	path := program(t, filepath.Join(lower, "curl"))
	digest := digestOf(t, path)

	users := start(t, inUserNamespace(helper(t, "lower", lower, top, "curl")))
	users.running(t, "curl")
	if p := look(t, users); p.SHA256 != "" || !strings.Contains(p.ExecutableNote, "overlay") {
		t.Errorf("digest %q, note %q", p.SHA256, p.ExecutableNote)
	}

	// Nor if a process of the host executes it from without.
	outside := start(t, exec.Command(fmt.Sprintf("/proc/%d/root%s", users.pid(), filepath.Join(top, "curl"))))
	outside.running(t, "curl")
	if p := look(t, outside); p.SHA256 != "" || !strings.Contains(p.ExecutableNote, "overlay") {
		t.Errorf("from without: digest %q, note %q", p.SHA256, p.ExecutableNote)
	}

	cmd := helper(t, "lower", lower, top, "curl")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	container := start(t, cmd)
	container.running(t, "curl")
	if p := look(t, container); p.SHA256 != digest || p.Executable != "" {
		t.Errorf("digest %q, executable %q, note %q", p.SHA256, p.Executable, p.ExecutableNote)
	}

	// Its mount has to be the very one that the host's namespace has.
	dir, err := os.Open(fmt.Sprintf("/proc/%d", container.pid()))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	exe, err := statAt(int(dir.Fd()), "exe")
	if err != nil {
		t.Fatal(err)
	}
	reader := attributor(t, newRecord()).reader
	if err := reader.steady(dir, exe); err != nil {
		t.Error(err)
	}
	exe.mount = 1 << 40
	if err := reader.steady(dir, exe); err == nil || !strings.Contains(err.Error(), "overlay") {
		t.Errorf("another mount of the same overlay: %v", err)
	}
}

// TestMountThatNobodyListsIsFoundByItsDevice: a sandbox that was made inside a
// container reached its executable through a mount of neither the host nor its own.
func TestMountThatNobodyListsIsFoundByItsDevice(t *testing.T) {
	needRoot(t)
	cmd := helper(t, "leave")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	c := start(t, cmd)
	c.line(t)
	dir, err := os.Open(fmt.Sprintf("/proc/%d", c.pid()))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	exe, err := statAt(int(dir.Fd()), "exe")
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"/proc/1/mountinfo", fmt.Sprintf("/proc/%d/mountinfo", c.pid())} {
		mounts, err := readMounts(table)
		if err != nil || slices.ContainsFunc(mounts, func(m mount) bool { return m.id == exe.mount }) {
			t.Fatalf("%s lists the mount: %v", table, err)
		}
	}
	if p := look(t, c); p.SHA256 == "" {
		t.Errorf("note %q", p.ExecutableNote)
	}
}

// TestMountTableIsReadWhenItChanges: ids and device numbers are used again, so that
// a mount that has gone must not be known any more.
func TestMountTableIsReadWhenItChanges(t *testing.T) {
	needRoot(t)
	dir := folder(t)
	cmd := helper(t, "mount", dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	c := start(t, cmd)
	c.line(t)
	h := &mountTable{path: fmt.Sprintf("/proc/%d/mountinfo", c.pid())}
	defer h.close()
	look := func() (file, string) {
		t.Helper()
		f, err := statAt(unix.AT_FDCWD, fmt.Sprintf("/proc/%d/root%s", c.pid(), dir))
		if err != nil {
			t.Fatal(err)
		}
		fsType, err := h.typeOf(f)
		if err != nil {
			t.Fatal(err)
		}
		return f, fsType
	}
	next := func() {
		t.Helper()
		if _, err := io.WriteString(c.stdin, "\n"); err != nil {
			t.Fatal(err)
		}
		c.line(t)
	}
	_, before := look()
	for range 10 {
		look()
	}
	if before == "" || h.reads != 1 {
		t.Fatalf("%q after %d reads", before, h.reads)
	}
	next()
	mounted, fsType := look()
	if ok, err := h.has(mounted.mount); fsType != "tmpfs" || !ok || err != nil || h.reads != 2 {
		t.Errorf("mounted: %q, %t, %v, %d reads", fsType, ok, err, h.reads)
	}
	next()
	if ok, err := h.has(mounted.mount); ok || err != nil {
		t.Errorf("a mount that has gone: %t, %v", ok, err)
	}
	if fsType, err := h.typeOf(mounted); fsType != "" || err != nil {
		t.Errorf("a file of a mount that has gone: %q, %v", fsType, err)
	}
	if _, fsType := look(); fsType != before {
		t.Errorf("unmounted: %q, before %q", fsType, before)
	}
}
