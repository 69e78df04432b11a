package attribution

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// tree is a /proc of files that a test has written.
type tree struct {
	t    *testing.T
	root string
}

func newTree(t *testing.T) tree { return tree{t, folder(t)} }

func (tr tree) write(path, content string) {
	tr.t.Helper()
	path = filepath.Join(tr.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tr.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		tr.t.Fatal(err)
	}
}

func (tr tree) link(path, target string) {
	tr.t.Helper()
	path = filepath.Join(tr.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tr.t.Fatal(err)
	}
	if err := os.Symlink(target, path); err != nil {
		tr.t.Fatal(err)
	}
}

// reader reads the tree as if its processes had our mounts.
func (tr tree) reader(cgroup2 string) *Reader {
	tr.t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.write("1/mountinfo", string(mounts))
	tr.write("self/mountinfo", string(mounts))
	r, err := NewReader(ReaderConfig{Proc: tr.root, Root: "/", Cgroup2: cgroup2, Names: names{}})
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.t.Cleanup(func() { r.Close() })
	return r
}

// past is when the files of these tests were modified last.
var past = time.Unix(1700000000, 0)

const status = "Name:\tx\nUid:\t1000\t0\t1000\t1000\nGid:\t5\t6\t7\t8\n"

func TestScanOfOddProcesses(t *testing.T) {
	tr := newTree(t)
	exe := program(t, filepath.Join(folder(t), "x"))
	tr.write("version", "not a process")
	tr.write("2/status", status) // a kernel thread: no executable
	tr.write("2/cmdline", "")
	tr.link("7/exe", exe)
	tr.write("7/status", status)
	tr.write("7/cmdline", "x\x00a b\x00")
	tr.link("8/exe", exe) // without a readable status
	tr.write("8/status", "Uid:\t1\n")
	tr.link("9/exe", exe)
	tr.write("9/status", status)
	tr.write("9/cmdline", strings.Repeat("a", maxCommandLine+1))
	tr.link("10/exe", "/nothing/here (deleted)")
	tr.write("10/status", status)

	processes, hidden, err := tr.reader("").Scan(t.Context(), Facts{CommandLine: true})
	if err != nil || hidden != 0 {
		t.Fatal(hidden, err)
	}
	byPID := map[uint32]*workload.Process{}
	for _, p := range processes {
		byPID[p.Image.PID] = p
	}
	if len(byPID) != 3 {
		t.Fatalf("got %v", byPID)
	}
	if p := byPID[7]; p.Executable != exe || p.UID != 0 || p.GID != 6 || p.User != "root" || !slices.Equal(p.CommandLine, []string{"x", "a b"}) || p.Cgroup != "" {
		t.Errorf("7: %+v", p)
	}
	if p := byPID[9]; p.CommandLine != nil {
		t.Error("9: the beginning of a command line passes for the whole")
	}
	if p := byPID[10]; p.Executable != "" || p.ExecutableNote == "" {
		t.Errorf("10: %+v", p)
	}
}

func TestScanFindsThisProcess(t *testing.T) {
	r, err := NewReader(ReaderConfig{Proc: "/proc", Root: "/", Names: NewHostNames()})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	processes, _, err := r.Scan(t.Context(), Facts{CommandLine: true})
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(processes, func(p *workload.Process) bool { return int(p.Image.PID) == os.Getpid() })
	if i < 0 || processes[i].Executable != exe || int(processes[i].UID) != os.Geteuid() {
		t.Errorf("not found, or wrong: %d", i)
	}
}

// TestScanWithoutRoot sees what any user sees, and says what that is not.
func TestScanWithoutRoot(t *testing.T) {
	needRoot(t) // to be another user
	other := start(t, exec.Command(program(t, filepath.Join(folder(t), "roots"))))
	other.running(t, "roots")
	cmd := helper(t, "scan", fmt.Sprint(other.pid()))
	self, err := os.Open(cmd.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	// By its number, as another user may not enter the folder that it is in.
	cmd.Path, cmd.ExtraFiles = "/proc/self/fd/3", []*os.File{self}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = "/"
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		`other exe="" note=true cgroup=true`,
		"own digest=true cgroup=true",
		"hidden=true",
	} {
		if !strings.Contains(string(out), want+"\n") {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestParseCgroup(t *testing.T) {
	for text, want := range map[string]string{
		"0::/system.slice/x.service\n":          "/system.slice/x.service",
		"12:cpu:/a\n1:name=systemd:/b\n0::/c\n": "/c",
		"12:cpu:/a\n":                           "",
		"0::/../other\n":                        "",
		"0::/..\n":                              "",
		"":                                      "",
		"0::relative\n":                         "",
		"0::/with:colon\n":                      "/with:colon",
		"10::/not/unified\n":                    "",
		"0::/system.slice/a.service (deleted)\n0::/b\n": "/system.slice/a.service (deleted)",
	} {
		if got := parseCgroup(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestParseMount(t *testing.T) {
	m, err := parseMount(`36 35 98:0 / /mnt\040a/b\134c rw,noatime master:1 - ext3 /dev/root rw - odd`)
	if err != nil || m.id != 36 || m.root != "/" || m.point != `/mnt a/b\c` || m.fsType != "ext3" {
		t.Errorf("got %+v, %v", m, err)
	}
	for _, line := range []string{"", "x", "36 35 98:0 / /mnt - ext3 x", "a b c d e f - g"} {
		if _, err := parseMount(line); err == nil {
			t.Errorf("%q parsed", line)
		}
	}
}

func (tr tree) read(r *Reader, pid uint32) (*workload.Process, error) {
	got, err := r.read(tr.t.Context(), caller{image: workload.Image{PID: pid}}, Always(Facts{SHA256: true}))
	if err != nil {
		return nil, err
	}
	return got.process, nil
}

// TestDigestOfForeignFileSystem takes the folder's own file system for one whose
// content another machine decides.
func TestDigestOfForeignFileSystem(t *testing.T) {
	exe := program(t, filepath.Join(folder(t), "x"))
	at, err := statAt(unix.AT_FDCWD, exe)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Open("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	m, err := mountOf(at, self)
	if err != nil || m == nil {
		t.Fatal("the program is on no mount: ", err)
	}
	tr := newTree(t)
	tr.link("7/exe", exe)
	r := tr.reader("")
	p, err := tr.read(r, 7)
	if err != nil || p.SHA256 != digestOf(t, exe) {
		t.Fatalf("%+v, %v", p, err)
	}
	r.foreign = map[string]string{m.fsType: "FUSE"}
	p, err = tr.read(r, 7)
	if err != nil || p.SHA256 != "" || p.Executable != exe || !strings.Contains(p.ExecutableNote, "FUSE") {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestForeignFileSystems(t *testing.T) {
	r := newTree(t).reader("")
	for fsType, name := range map[string]string{
		"fuse": "FUSE", "fuseblk": "FUSE", "fuse.sshfs": "FUSE", "virtiofs": "FUSE", "nfs": "NFS", "nfs4": "NFS",
		"cifs": "SMB", "smb3": "SMB", "ceph": "Ceph", "afs": "AFS", "9p": "9P", "coda": "Coda",
	} {
		if err := r.foreignType(fsType); err == nil || !strings.Contains(err.Error(), "on "+name+",") {
			t.Errorf("%s: %v, want %q", fsType, err, name)
		}
	}
	for _, fsType := range []string{"ext4", "xfs", "btrfs", "overlay", "tmpfs", memoryFS} {
		if err := r.foreignType(fsType); err != nil {
			t.Errorf("%s: %v", fsType, err)
		}
	}
}

func TestDigestIsOfThisVersion(t *testing.T) {
	exe := filepath.Join(folder(t), "x")
	tr := newTree(t)
	tr.link("7/exe", exe)
	r := tr.reader("")
	for n := range 3 {
		if err := os.WriteFile(exe, fmt.Appendf(nil, "version %d", n), 0o755); err != nil {
			t.Fatal(err)
		}
		// The same size and, put back, the same modification time.
		if err := os.Chtimes(exe, past, past); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			p, err := tr.read(r, 7)
			if err != nil || p.SHA256 != digestOf(t, exe) {
				t.Fatalf("version %d: %+v, %v", n, p, err)
			}
		}
		if len(r.digests.known.entries) != n+1 {
			t.Errorf("%d digests known after %d versions", len(r.digests.known.entries), n+1)
		}
	}
}

func TestDigestBounds(t *testing.T) {
	tr := newTree(t)
	big := filepath.Join(folder(t), "big")
	if err := os.WriteFile(big, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, maxExecutable+1); err != nil {
		t.Fatal(err)
	}
	tr.link("7/exe", big)
	sparse := filepath.Join(folder(t), "sparse")
	if err := os.WriteFile(sparse, []byte("some"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(sparse, sparseSize+1); err != nil {
		t.Fatal(err)
	}
	tr.link("6/exe", sparse)
	tr.link("8/exe", folder(t))
	fifo := filepath.Join(folder(t), "fifo")
	if err := unix.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	tr.link("9/exe", fifo)
	r := tr.reader("")
	for pid, says := range map[uint32]string{6: "sparse", 7: "more than", 8: "no regular file", 9: "no regular file"} {
		p, err := tr.read(r, pid)
		if err != nil || p.SHA256 != "" || !strings.Contains(p.ExecutableNote, says) {
			t.Errorf("%d: %+v, %v", pid, p, err)
		}
	}
	d := newDigests()
	for n := range maxDigests {
		d.known.put(version{inode: uint64(n)}, "x", workload.Party{})
	}
	f, err := os.Open(program(t, filepath.Join(folder(t), "x")))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	v, err := versionOf(f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.get(t.Context(), f, v, workload.Party{}); err != nil || len(d.known.entries) != maxDigests {
		t.Errorf("%d digests, %v", len(d.known.entries), err)
	}
	// What changes while it is read has no digest.
	v.size--
	if digest, err := d.get(t.Context(), f, v, workload.Party{}); err == nil {
		t.Errorf("got %q", digest)
	}
}

// TestSameFile: security.md 1, both numbers count. File systems number their files
// alike.
func TestSameFile(t *testing.T) {
	one := file{device: 1, inode: 2}
	for other, same := range map[file]bool{
		{device: 1, inode: 2, links: 7, mount: 9}: true, {device: 2, inode: 2}: false, {device: 1, inode: 3}: false,
	} {
		if one.sameAs(other) != same || other.sameAs(one) != same {
			t.Errorf("%+v: want %v", other, same)
		}
	}
}
