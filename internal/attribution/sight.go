//go:build linux

package attribution

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Inodes of the initial namespaces, constants of the kernel's (PROC_PID_INIT_INO,
// PROC_USER_INIT_INO).
const (
	initialPIDNS  = 0xEFFFFFFC
	initialUserNS = 0xEFFFFFFD
)

// Sight is what keeps this process from learning facts of the host's processes; nil each
// where nothing does. It is found out once: namespaces and capabilities of a process that
// serves stay.
type Sight struct {
	Processes   error // none of the host's processes can be told from others
	Executables error // those of other users' processes cannot be read
	Cgroups     error // no cgroup's path can be found
}

// Look finds out what can be seen through a proc mount and the cgroup2 hierarchy at root;
// rootErr is why that is not known.
func Look(proc, root string, rootErr error) Sight {
	return Sight{Processes: lookAtProcesses(proc), Executables: lookAtCapability(unix.CAP_SYS_PTRACE, "CAP_SYS_PTRACE"), Cgroups: lookAtCgroups(root, rootErr)}
}

// lookAtProcesses says why the numbers below proc are not those by which the kernel tells
// us of callers: those of the initial namespace.
func lookAtProcesses(proc string) error {
	self, err := os.Readlink(filepath.Join(proc, "self"))
	if err != nil {
		return fmt.Errorf("read %s: %w; mount the host's proc there", proc, err)
	}
	if _, err := os.Stat(filepath.Join(proc, "1")); err != nil {
		return fmt.Errorf("%s hides processes (%w); mount it without hidepid, or give the agent CAP_SYS_PTRACE", proc, err)
	}
	if inodeOf(filepath.Join(proc, "1/ns/pid")) == initialPIDNS {
		return nil // it is the host's, whatever namespace we are in
	}
	if inodeOf(filepath.Join(proc, "self/ns/pid")) == initialPIDNS && self == strconv.Itoa(os.Getpid()) {
		return nil
	}
	return fmt.Errorf("%s is that of a PID namespace of its own, where the host's processes have other numbers or none; "+
		"start the container with --pid=host, or the pod with hostPID: true", proc)
}

// lookAtCapability says that we lack a capability for processes of the host.
func lookAtCapability(number uint, name string) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	if data[number/32].Effective&(1<<(number%32)) == 0 {
		return fmt.Errorf("the agent lacks %s; run it as root with all capabilities, or add that one", name)
	}
	if ns := inodeOf("/proc/self/ns/user"); ns != 0 && ns != initialUserNS {
		return errors.New("the agent is in a user namespace of its own; start it in the host's")
	}
	return nil
}

func lookAtCgroups(root string, rootErr error) error {
	if rootErr != nil {
		return rootErr
	}
	cgroups, err := OpenCgroups(root)
	if err != nil {
		return err
	}
	defer func() { _ = cgroups.Close() }() // it was only read
	id, err := cgroups.ID("/")
	if err != nil {
		return err
	}
	if _, err := cgroups.Path(id); errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w; the agent lacks CAP_DAC_READ_SEARCH: run it as root with all capabilities, or add that one", err)
	} else if err != nil {
		return err
	}
	return nil
}

// inodeOf returns the inode that a path leads to, 0 where we may not know.
func inodeOf(path string) uint64 {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0
	}
	return st.Ino
}
