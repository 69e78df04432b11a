package trustedpath

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/test/lab"
)

// Users of these tests; neither has more rights than the other.
const (
	ordinary = 65534
	stranger = 65533
	// mountGroup is a group that Kubernetes gives volumes to (fsGroup).
	mountGroup = 65532
)

// childEnv makes this program, run as another user, do a part of a test.
const childEnv = "LANYARD_TEST_TRUSTEDPATH"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case "open":
		answerOpens()
	case "open mounted":
		answerOpensMounted(os.Args[1], os.Args[2])
	case "swap":
		swapForever(os.Args[1])
	}
}

// attempt is one file to open, and what came of it.
type attempt struct {
	Path    string
	Rule    string
	Content string
	Error   string
}

var rules = map[string]Rule{"secret": Secret, "kept": Kept, "given": Given, "given secret": GivenSecret}

func (a *attempt) try() {
	content, err := Read(a.Path, rules[a.Rule], 100)
	a.Content = string(content)
	if err != nil {
		a.Error = err.Error()
	}
}

// answerOpens is what the child does.
func answerOpens() {
	var all []attempt
	err := json.NewDecoder(os.Stdin).Decode(&all)
	for i := range all {
		all[i].try()
	}
	if err = errors.Join(err, json.NewEncoder(os.Stdout).Encode(all)); err != nil {
		panic(err)
	}
}

// child is this program, as another user who need not be able to reach its file.
func child(t *testing.T, does string, uid uint32, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = self.Close() })
	cmd := exec.Command("/proc/self/fd/3", args...)
	cmd.ExtraFiles = []*os.File{self}
	cmd.Env = []string{childEnv + "=" + does, "GOCOVERDIR=" + os.TempDir()}
	cmd.Dir, cmd.Stderr = "/", os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return cmd
}

// answerOpensMounted is answerOpens as a user, with the folder mounted read-only, in a
// mount namespace of its own.
func answerOpensMounted(folder, user string) {
	uid, err := strconv.Atoi(user)
	if err == nil {
		err = unix.Mount(folder, folder, "", unix.MS_BIND, "")
	}
	if err == nil {
		err = unix.Mount("", folder, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	if err = errors.Join(err, syscall.Setgroups([]int{mountGroup}), syscall.Setgid(uid), syscall.Setuid(uid)); err != nil {
		panic(err)
	}
	answerOpens()
}

func openAll(t *testing.T, uid uint32, all []attempt) []attempt {
	t.Helper()
	if uid == 0 {
		for i := range all {
			all[i].try()
		}
		return all
	}
	return answersOf(t, child(t, "open", uid), all)
}

// answersOf has a child open all.
func answersOf(t *testing.T, cmd *exec.Cmd, all []attempt) []attempt {
	t.Helper()
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = strings.NewReader(string(text))
	out, err := cmd.Output()
	var answered []attempt
	if err = errors.Join(err, json.Unmarshal(out, &answered)); err != nil || len(answered) != len(all) {
		t.Fatalf("%v: %s", err, out)
	}
	return answered
}

// tree is a folder of one case, which belongs to the user who will open the file.
type tree struct {
	t    *testing.T
	path string
	self int
}

func (d tree) in(name string) string { return filepath.Join(d.path, name) }

// give makes somebody else the owner.
func (d tree) give(path string, uid int) string {
	d.t.Helper()
	if err := os.Lchown(path, uid, uid); err != nil {
		d.t.Fatal(err)
	}
	return path
}

func (d tree) file(name string, mode os.FileMode) string {
	d.t.Helper()
	return d.give(write(d.t, d.in(name), "content", mode), d.self)
}

func (d tree) folder(name string, mode os.FileMode) string {
	d.t.Helper()
	return d.give(mkdir(d.t, d.in(name), mode), d.self)
}

func (d tree) link(target, name string) string {
	d.t.Helper()
	return d.give(link(d.t, target, d.in(name)), d.self)
}

// mounted is a secret as Kubernetes mounts it: all of it is root's, and the folder
// is one in which everybody could make files if it were not read-only.
func (d tree) mounted() string {
	d.t.Helper()
	d.give(d.folder("volume", 0o777|os.ModeSticky), 0)
	d.give(d.folder("volume/..2026", 0o755), 0)
	d.give(d.file("volume/..2026/ticket", 0o644), 0)
	d.give(d.link("..2026", "volume/..data"), 0)
	return d.give(d.link("..data/ticket", "volume/ticket"), 0)
}

const sticky = os.ModeSticky

// cases make a file, and say by which rule it is opened, and what the error says: ""
// if there is none.
var cases = map[string]struct {
	rule string
	make func(d tree) string
	want string
}{
	"own":                       {"secret", func(d tree) string { return d.file("f", 0o600) }, ""},
	"root's":                    {"kept", func(d tree) string { return d.give(d.file("f", 0o644), 0) }, ""},
	"a stranger's":              {"kept", func(d tree) string { return d.give(d.file("f", 0o644), stranger) }, "f belongs to user id 65533, not to root"},
	"a stranger's, given":       {"given", func(d tree) string { return d.give(d.file("f", 0o644), stranger) }, "f belongs to user id 65533, not to root"},
	"a stranger's, private":     {"given", func(d tree) string { return d.give(d.file("f", 0o600), stranger) }, "f belongs to user id 65533, not to root"},
	"readable, secret":          {"secret", func(d tree) string { return d.file("f", 0o640) }, "f has mode 0640, which lets others in; run chmod 600 /"},
	"readable":                  {"kept", func(d tree) string { return d.file("f", 0o644) }, ""},
	"group can write":           {"kept", func(d tree) string { return d.file("f", 0o620) }, "f has mode 0620, so others can change it; run chmod go-w /"},
	"others can write":          {"given", func(d tree) string { return d.file("f", 0o602) }, "f has mode 0602, so others can change it; run chmod go-w /"},
	"a link, secret":            {"secret", func(d tree) string { d.file("f", 0o600); return d.link("f", "l") }, "l is a link; put the file itself there"},
	"a link, kept":              {"kept", func(d tree) string { d.file("f", 0o600); return d.link("f", "l") }, "l is a link; put the file itself there"},
	"a link, given":             {"given", func(d tree) string { d.file("f", 0o600); return d.link("f", "l") }, ""},
	"a link from /":             {"given", func(d tree) string { return d.link(d.file("f", 0o600), "l") }, ""},
	"a link upwards":            {"given", func(d tree) string { d.file("f", 0o600); d.folder("a", 0o755); return d.link("../f", "a/l") }, ""},
	"a link to a link":          {"given", func(d tree) string { d.file("f", 0o600); d.link("f", "m"); return d.link("m", "l") }, ""},
	"a stranger's link":         {"given", func(d tree) string { d.file("f", 0o600); return d.give(d.link("f", "l"), stranger) }, "run chown -h "},
	"a link to a stranger's":    {"given", func(d tree) string { d.give(d.file("f", 0o644), stranger); return d.link("f", "l") }, "f belongs to user id 65533"},
	"a link into an open one":   {"given", func(d tree) string { d.folder("a", 0o777); d.file("a/f", 0o600); return d.link("a/f", "l") }, "a is a folder in which others can put files (mode 0777); run chmod go-w /"},
	"a loop":                    {"given", func(d tree) string { d.link("m", "l"); return d.link("l", "m") }, "too many levels"},
	"a dangling link":           {"given", func(d tree) string { return d.link("none", "l") }, "no such file"},
	"a link to /":               {"given", func(d tree) string { return d.link("/", "l") }, "not a regular file"},
	"mounted":                   {"given", tree.mounted, ""},
	"mounted, exchanged":        {"given", func(d tree) string { d.mounted(); return d.give(d.link("f", "volume/x"), stranger) }, "x belongs to user id 65533"},
	"mounted, by its folder":    {"kept", func(d tree) string { d.mounted(); return d.in("volume/..data/ticket") }, ""},
	"folder of everybody's":     {"given", func(d tree) string { d.folder("a", 0o777); return d.file("a/f", 0o600) }, "a is a folder in which others can put files (mode 0777); run chmod go-w /"},
	"folder of a group's":       {"given", func(d tree) string { d.folder("a", 0o775); return d.file("a/f", 0o600) }, "(mode 0775); run chmod go-w /"},
	"sticky folder":             {"secret", func(d tree) string { d.folder("a", 0o777|sticky); return d.file("a/f", 0o600) }, ""},
	"sticky, a stranger's file": {"given", func(d tree) string { d.folder("a", 0o777|sticky); return d.give(d.file("a/f", 0o644), stranger) }, "f belongs to user id 65533"},
	"sticky, a stranger's": {"given", func(d tree) string {
		d.folder("a", 0o777|sticky)
		d.file("a/f", 0o600)
		return d.give(d.in("a"), stranger) + "/f"
	}, "a belongs to user id 65533"},
	"a stranger's folder": {"given", func(d tree) string {
		d.folder("a", 0o755)
		d.file("a/f", 0o600)
		return d.give(d.in("a"), stranger) + "/f"
	}, "a belongs to user id 65533"},
	"open one far above": {"secret", func(d tree) string { d.folder("a", 0o777); d.folder("a/b", 0o700); return d.file("a/b/f", 0o600) }, "a is a folder in which others can put files"},
	"through a link":     {"secret", func(d tree) string { d.folder("a", 0o755); d.file("a/f", 0o600); return d.link("a", "l") + "/f" }, ""},
	"through a stranger's": {"given", func(d tree) string {
		d.folder("a", 0o755)
		d.file("a/f", 0o600)
		return d.give(d.link("a", "l"), stranger) + "/f"
	}, "l belongs to user id 65533"},
	"not to be listed": {"secret", func(d tree) string { d.give(d.folder("a", 0o711), 0); return d.file("a/f", 0o600) }, ""},
	"a pipe":           {"given", func(d tree) string { d.mkfifo("p"); return d.in("p") }, "p is not a regular file"},
	"a folder":         {"given", func(d tree) string { return d.folder("a", 0o755) }, "a is not a regular file"},
	"upwards":          {"given", func(d tree) string { return d.in("..") + "/.." }, "not a regular file"},
	"none":             {"given", func(d tree) string { return d.in("none") }, "no such file"},
}

func (d tree) mkfifo(name string) {
	if err := unix.Mkfifo(d.in(name), 0o600); err != nil {
		d.t.Fatal(err)
	}
	d.give(d.in(name), d.self)
}

// TestWhoElseCanChangeIt: as root and as a user who is nobody in particular.
func TestWhoElseCanChangeIt(t *testing.T) {
	lab.RequireRoot(t)
	for _, uid := range []uint32{0, ordinary} {
		root := passable(t)
		var names []string
		var all []attempt
		for name, k := range cases {
			d := tree{t: t, path: filepath.Join(root, fmt.Sprint(len(names))), self: int(uid)}
			d.folder(".", 0o755)
			names, all = append(names, name), append(all, attempt{Path: k.make(d), Rule: k.rule})
		}
		for i, got := range openAll(t, uid, all) {
			k := cases[names[i]]
			if k.want == "" && (got.Error != "" || got.Content != "content") {
				t.Errorf("user %d, %s: %q, %s", uid, names[i], got.Content, got.Error)
			}
			if k.want != "" && (!strings.Contains(got.Error, k.want) || got.Content != "") {
				t.Errorf("user %d, %s: %q, %s; want %s", uid, names[i], got.Content, got.Error, k.want)
			}
			if owner := fmt.Sprintf("chown %d /", ordinary); uid == ordinary && names[i] == "a stranger's" && !strings.Contains(got.Error, owner) {
				t.Errorf("%s does not say %s", got.Error, owner)
			}
		}
	}
}

// passable returns a folder that every user can go through.
func passable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, folder := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestFoldersOfStrangers: nothing is made in them, nor where their links lead.
func TestFoldersOfStrangers(t *testing.T) {
	lab.RequireRoot(t)
	d := tree{t: t, path: t.TempDir()}
	d.folder("sticky", 0o777|sticky)
	d.give(d.folder("theirs", 0o755), stranger)
	d.folder("open", 0o777)
	d.give(d.link(d.in("elsewhere"), "sticky/l"), stranger)
	d.give(d.folder("sticky/taken", 0o755), stranger)
	for path, remedy := range map[string]string{
		"theirs": "run chown root ", "theirs/a": "run chown root ", "open/a": "run chmod go-w ",
		"sticky/l": "run chown -h root ", "sticky/l/a": "run chown -h root ", "sticky/taken": "run chown root ",
	} {
		var untrusted *UntrustedError
		if err := MakeFolder(d.in(path)); !errors.As(err, &untrusted) || !strings.HasPrefix(untrusted.Remedy, remedy) {
			t.Errorf("%s: %v, want %s", path, err, remedy)
		}
	}
	for _, path := range []string{"elsewhere", "theirs/a", "open/a", "sticky/taken/a"} {
		if _, err := os.Lstat(d.in(path)); err == nil {
			t.Errorf("%s was made", path)
		}
	}
	if err := CheckFolder(d.in("sticky")); err != nil {
		t.Errorf("sticky: %v", err)
	}
	if err := CheckFolder(d.in("open")); err == nil {
		t.Error("a folder of everybody's passes")
	}
}

// swapForever makes a path, again and again, a file of its own and a link to root's.
func swapForever(path string) {
	theirs, other := path+".theirs", path+".link"
	for {
		_ = os.WriteFile(theirs, []byte("theirs"), 0o644)
		_ = os.Rename(theirs, path)
		_ = os.Symlink(filepath.Join(filepath.Dir(path), "root"), other)
		_ = os.Rename(other, path)
	}
}

// TestExchangedWhileItIsOpened: an unprivileged user who exchanges the file all the
// time has nothing of it read, by whatever it is exchanged.
func TestExchangedWhileItIsOpened(t *testing.T) {
	lab.RequireRoot(t)
	d := tree{t: t, path: passable(t)}
	d.folder("a", 0o777|sticky)
	d.file("a/root", 0o644)
	path := d.in("a/f")
	cmd := child(t, "swap", stranger)
	cmd.Args = []string{"swap", path}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	seen := map[string]int{}
	for tries := 0; tries < 20_000 || (len(seen) < 2 && tries < 10_000_000); tries++ {
		f, err := Open(path, Given)
		if err == nil {
			_ = f.Close()
			t.Fatal("it was opened")
		}
		switch text := err.Error(); {
		case strings.Contains(text, "run chown -h root"):
			seen["link"]++
		case strings.Contains(text, "run chown root"):
			seen["file"]++
		}
	}
	if len(seen) < 2 {
		t.Errorf("nothing was exchanged: %v", seen)
	}
	t.Logf("refused: %v", seen)
}
