package attribution

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// helperEnv makes the test binary act as one of the programs below.
const helperEnv = "LANYARD_ATTRIBUTION_HELPER"

func init() { runtime.LockOSThread() } // keeps main on the first thread, for leaveFirstThread

func TestMain(m *testing.M) {
	helpers := map[string]func(args []string) error{
		"exec":   execOnLine,
		"fork":   forkOnce,
		"bind":   bindAndExec,
		"hold":   bindAndHold,
		"lower":  overlayAndExec,
		"leader": leaveFirstThread,
		"fuse":   fuseAndExec,
		"leave":  leaveNamespace,
		"mount":  mountOnLine,
		"scan":   scanAsUser,
	}
	name := os.Getenv(helperEnv)
	if name == "" {
		runtime.UnlockOSThread()
		os.Exit(m.Run())
	}
	os.Unsetenv(helperEnv)
	if err := helpers[name](os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, name, err)
		os.Exit(1)
	}
}

func ready() { fmt.Println("ready") }

// execOnLine executes a program after one line of input.
func execOnLine(args []string) error {
	ready()
	var b [1]byte // byte by byte: what comes after is the program's
	for b[0] != '\n' {
		if _, err := os.Stdin.Read(b[:]); err != nil {
			return err
		}
	}
	return syscall.Exec(args[0], args, os.Environ())
}

// forkOnce starts a child that runs the same program, says its number and waits.
func forkOnce(args []string) error {
	child := exec.Command(args[0])
	child.Stdin = os.Stdin
	if err := child.Start(); err != nil {
		return err
	}
	fmt.Println(child.Process.Pid)
	return child.Wait()
}

// bindAndExec mounts one file over another in a namespace of its own and
// executes it by that path.
func bindAndExec(args []string) error {
	if err := unix.Mount(args[0], args[1], "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return syscall.Exec(args[1], args[1:], os.Environ())
}

// bindAndHold does the same but only waits.
func bindAndHold(args []string) error {
	if err := unix.Mount(args[0], args[1], "", unix.MS_BIND, ""); err != nil {
		return err
	}
	ready()
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// leaveNamespace goes on in a copy of the mount namespace that it was executed in.
func leaveNamespace([]string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	ready()
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// mountOnLine mounts a tmpfs after one line of input, and takes it away after another.
func mountOnLine(args []string) error {
	ready()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := unix.Mount("tmpfs", args[0], "tmpfs", 0, ""); err != nil {
			return err
		}
		ready()
		if lines.Scan(); lines.Err() != nil {
			return lines.Err()
		}
		if err := unix.Unmount(args[0], 0); err != nil {
			return err
		}
		ready()
	}
	return lines.Err()
}

// overlayAndExec mounts an overlay of two folders over a third and executes a
// program in it.
func overlayAndExec(args []string) error {
	lower, top, program := args[0], args[1], args[2]
	options := fmt.Sprintf("lowerdir=%s:%s", lower, top)
	if err := unix.Mount("overlay", top, "overlay", 0, options); err != nil {
		return err
	}
	return syscall.Exec(filepath.Join(top, program), []string{program}, os.Environ())
}

// leaveFirstThread ends the process's first thread and goes on in another.
func leaveFirstThread([]string) error {
	go func() {
		ready()
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	_, _, _ = unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
	return nil
}

// scanAsUser looks at every process and says what it saw of two.
func scanAsUser(args []string) error {
	mount, err := FindCgroup2("/proc")
	if err != nil {
		return err
	}
	r, err := NewReader(ReaderConfig{Proc: "/proc", Root: "/", Cgroup2: mount, Names: names{}})
	if err != nil {
		return err
	}
	processes, hidden, err := r.Scan(context.Background(), Facts{SHA256: true})
	if err != nil {
		return err
	}
	for _, p := range processes {
		if fmt.Sprint(p.Image.PID) == args[0] {
			fmt.Printf("other exe=%q note=%t cgroup=%t\n", p.Executable, p.ExecutableNote != "", p.Cgroup != "")
		}
		if int(p.Image.PID) == os.Getpid() {
			fmt.Printf("own digest=%t cgroup=%t\n", p.SHA256 != "", p.Cgroup != "")
		}
	}
	fmt.Printf("hidden=%t\n", hidden > 0)
	return nil
}

// child is a running process of a test. It ends with its input.
type child struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

func (c *child) pid() uint32 { return uint32(c.cmd.Process.Pid) }

func (c *child) line(t *testing.T) string {
	t.Helper()
	if !c.lines.Scan() {
		t.Fatalf("the helper said nothing: %v", c.lines.Err())
	}
	return c.lines.Text()
}

// image names the child for the fake record, which decides what is alive.
func (c *child) image(exec uint64) workload.Image {
	return workload.Image{PID: c.pid(), StartTime: 1000, ExecID: exec}
}

func start(t *testing.T, cmd *exec.Cmd) *child {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &child{cmd, stdin, bufio.NewScanner(stdout)}
}

// helper starts the test binary as one of the programs.
func helper(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), helperEnv+"="+name)
	return cmd
}

// inUserNamespace has a command run in namespaces that any user can make.
func inUserNamespace(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	return cmd
}

// program copies cat, which runs until its input ends, to a path of its own.
func program(t *testing.T, path string) string {
	t.Helper()
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(cat)
	if err != nil {
		t.Fatal(err)
	}
	// A program that is written while another test forks is busy for a moment,
	// so it is written by a process that has nothing else to do.
	write := exec.Command("sh", "-c", `cat > "$1" && chmod 755 "$1"`, "sh", path)
	write.Stdin = strings.NewReader(string(content))
	if out, err := write.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// folder is a temporary folder by the name that the kernel gives it.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// running waits until the child executes a file of this name.
func (c *child) running(t *testing.T, name string) {
	t.Helper()
	until(t, func() bool {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", c.pid()))
		return err == nil && strings.HasPrefix(filepath.Base(exe), name)
	})
}

func until(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the condition did not come true")
		}
	}
}

// needRoot fails in CI and skips on a user's machine.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs root")
	}
	t.Skip("needs root")
}

// record is a kernel's record of images under the test's control.
type record struct {
	mu     sync.Mutex
	alive  map[workload.Image]bool
	epochs map[uint32]uint64
	asked  int
	err    error
	before func(n int) // called before the n-th question is answered
}

func newRecord(images ...workload.Image) *record {
	r := &record{alive: map[workload.Image]bool{}, epochs: map[uint32]uint64{}}
	for _, i := range images {
		r.alive[i] = true
	}
	return r
}

func (r *record) Epoch(pid uint32) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.epochs[pid]
}

func (r *record) Alive(i workload.Image) (bool, error) {
	r.mu.Lock()
	r.asked++
	n, before := r.asked, r.before
	r.mu.Unlock()
	if before != nil {
		before(n)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.alive[i], r.err
}

// begin and end do what the kernel does, in its order.
func (r *record) begin(i workload.Image) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.alive[i] = true
}

func (r *record) end(i workload.Image) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.alive, i)
	r.epochs[i.PID]++
}

func (r *record) questions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

// names are the accounts of a host that has but one user.
type names struct{}

func (names) UserName(id uint32) string {
	if id == 0 {
		return "root"
	}
	return ""
}

func (names) GroupName(uint32) string { return "" }

func attributor(t *testing.T, r *record, change ...func(*Config)) *Attributor {
	t.Helper()
	c := Config{
		ReaderConfig: ReaderConfig{Proc: "/proc", Root: "/", Names: names{}},
		Liveness:     r, Interest: Always(Facts{SHA256: true, CommandLine: true}),
	}
	for _, f := range change {
		f(&c)
	}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

func mustAttribute(t *testing.T, a *Attributor, f workload.Flow) *workload.Process {
	t.Helper()
	p, err := a.Attribute(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
