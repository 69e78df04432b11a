package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/test/kernel/plan"
)

// workerArgument tells the process that does the work from the first process,
// which only reaps orphans.
const workerArgument = "work"

// reportDevice is the serial port that carries the report; the kernel's own
// messages are on the other one.
const reportDevice = "/dev/ttyS1"

func main() {
	if len(os.Args) > 1 && os.Args[1] == workerArgument {
		if err := work(); err != nil {
			fmt.Println("guest:", err)
			os.Exit(1)
		}
		return
	}
	if err := superviseWorker(); err != nil {
		fmt.Println("guest:", err)
	}
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// superviseWorker starts the worker and reaps every process whose parent has died
// until the worker itself has ended.
func superviseWorker() error {
	if err := mountAll(); err != nil {
		return err
	}
	worker, err := os.StartProcess("/init", []string{"/init", workerArgument}, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Env:   []string{"PATH=/bin", "HOME=/tmp", "TMPDIR=/tmp", "USER=root"},
	})
	if err != nil {
		return fmt.Errorf("start worker: %w", err)
	}
	for {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		if pid == worker.Pid || (err != nil && !errors.Is(err, unix.EINTR)) {
			return err
		}
	}
}

// mountAll mounts what a host has. Files for a while stay in the root file system, which
// is memory as well: a test program can be linked there under another name.
func mountAll() error {
	for _, m := range []struct{ kind, point string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"},
		{"cgroup2", "/sys/fs/cgroup"}, {"bpf", "/sys/fs/bpf"}, {"tracefs", "/sys/kernel/tracing"},
	} {
		if err := unix.Mount(m.kind, m.point, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.kind, m.point, err)
		}
	}
	return os.Chmod("/tmp", 0o1777)
}

// work prepares the machine and runs the plan.
func work() error {
	content, err := os.ReadFile(plan.Path)
	if err != nil {
		return err
	}
	var todo plan.Plan
	if err := json.Unmarshal(content, &todo); err != nil {
		return fmt.Errorf("read plan: %w", err)
	}
	report, err := openReport()
	if err != nil {
		return err
	}
	if err := prepare(todo); err != nil {
		return err
	}
	for i, program := range todo.Programs {
		fmt.Fprintf(report, "\n%s begin %d\n", plan.Marker, i)
		status := runProgram(program, report)
		fmt.Fprintf(report, "\n%s end %d %d\n", plan.Marker, i, status)
	}
	fmt.Fprintf(report, "%s done\n", plan.Marker)
	return nil
}

// openReport opens the serial port so that bytes pass as they are.
func openReport() (*os.File, error) {
	report, err := os.OpenFile(reportDevice, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	settings, err := unix.IoctlGetTermios(int(report.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("read settings of %s: %w", reportDevice, err)
	}
	settings.Oflag &^= unix.OPOST
	settings.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(int(report.Fd()), unix.TCSETS, settings); err != nil {
		return nil, fmt.Errorf("change settings of %s: %w", reportDevice, err)
	}
	return report, nil
}

func prepare(todo plan.Plan) error {
	if err := exec.Command("/bin/busybox", "--install", "-s", "/bin").Run(); err != nil {
		return fmt.Errorf("install tools: %w", err)
	}
	for _, path := range todo.Modules {
		if err := loadModule(path); err != nil {
			return err
		}
	}
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback device: %w", err)
	}
	return netlink.LinkSetUp(loopback)
}

func loadModule(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.FinitModule(int(file.Fd()), "", 0); err != nil {
		return fmt.Errorf("load module %s: %w", strings.TrimSuffix(filepath.Base(path), ".ko"), err)
	}
	return nil
}

// runProgram runs a test program and returns its exit status, 255 where it has
// none.
func runProgram(program plan.Program, report io.Writer) int {
	cmd := exec.Command(program.Arguments[0], program.Arguments[1:]...)
	cmd.Dir = program.Folder
	cmd.Env = append(os.Environ(), "CI=true")
	cmd.Stdout, cmd.Stderr = report, report
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(report, "guest:", err)
		return 255
	}
	return cmd.ProcessState.ExitCode() & 0xff
}
