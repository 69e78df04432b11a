//go:build linux

package attribution

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// foreignFS are file systems whose content another machine or another process
// can change between two reads, with what they are called. A subtype, as in
// fuse.sshfs, is left out.
var foreignFS = map[string]string{
	"fuse":     "FUSE",
	"fuseblk":  "FUSE",
	"virtiofs": "FUSE",
	"nfs":      "NFS",
	"nfs4":     "NFS",
	"cifs":     "SMB",
	"smb3":     "SMB",
	"smbfs":    "SMB",
	"ceph":     "Ceph",
	"afs":      "AFS",
	"9p":       "9P",
	"coda":     "Coda",
	"ncpfs":    "NCP",
	"orangefs": "OrangeFS",
	"lustre":   "Lustre",
	"beegfs":   "BeeGFS",
	"gpfs":     "GPFS",
	"vboxsf":   "VirtualBox",
}

// memoryFS is the kernel's own mount of tmpfs, which files of memfd_create(2) are
// on. No mount table has it.
const memoryFS = "memfd"

// steady refuses files whose content somebody else decides at every read. An
// overlay hides what lies below it, so it counts only if the host mounted it: an
// unprivileged user can put one over a FUSE of his own.
//
// The file system is told by mount tables. To ask it itself, as statfs does, is to
// ask the process that FUSE's answers are from.
func (r *Reader) steady(dir *os.File, exe file) error {
	fsType, hostErr := r.mounts.typeOf(exe)
	if fsType != "" {
		return r.foreignType(fsType)
	}
	m, err := mountOf(exe, dir)
	switch {
	case m != nil && m.fsType == "overlay" && !(m.id == exe.mount && r.ownedByHost(dir)):
		return errors.New("the executable is on an overlay that the host did not mount, whose layers can change between two reads")
	case m != nil:
		return r.foreignType(m.fsType)
	case inMemory(exe):
		return r.foreignType(memoryFS)
	}
	if err := errors.Join(hostErr, err); err != nil {
		return err
	}
	return errors.New("the executable is on a file system that is mounted neither for the host nor for the process (an overlay that the host did not mount, for one), whose content can change between two reads")
}

// foreignType refuses the types of foreignFS.
func (r *Reader) foreignType(fsType string) error {
	fsType, _, _ = strings.Cut(fsType, ".")
	if name, ok := r.foreign[fsType]; ok {
		return fmt.Errorf("the executable is on %s, whose content can change between two reads", name)
	}
	return nil
}

// mountOf returns the mount that a file was reached through, or else another one
// of the same file system, by the mount table of a process; nil if that has none. A
// file on an overlay has a device number that no other file system has. Of the
// table, which a user can make long, nothing else is kept.
func mountOf(f file, process *os.File) (found *mount, err error) {
	table, err := openat(process, "mountinfo", 0)
	if err != nil {
		return nil, fmt.Errorf("read mount table: %w", err)
	}
	defer table.Close()
	err = eachMount(table, func(m mount) bool {
		reached := f.mount != 0 && m.id == f.mount
		if reached || found == nil && m.device != 0 && m.device == f.device {
			found = &m
		}
		return !reached
	})
	return found, err
}

// inMemory reports whether a file was made by memfd_create(2), on the file system
// on which the kernel makes one for us.
func inMemory(f file) bool {
	fd, err := unix.MemfdCreate("lanyard", unix.MFD_CLOEXEC)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	ours, err := statAt(fd, "")
	return err == nil && ours.device == f.device
}

// ownedByHost reports whether the process's mount namespace belongs to our own
// user namespace, which is the host's, or we could not load programs into its
// kernel.
func (r *Reader) ownedByHost(dir *os.File) bool {
	ns, err := openat(dir, "ns/mnt", 0)
	if err != nil {
		return false
	}
	defer ns.Close()
	owner, err := unix.IoctlRetInt(int(ns.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return false
	}
	f := os.NewFile(uintptr(owner), "user namespace")
	defer f.Close()
	a, err := statAt(int(f.Fd()), "")
	if err != nil {
		return false
	}
	b, err := statAt(unix.AT_FDCWD, filepath.Join(r.proc, "self/ns/user"))
	return err == nil && a.sameAs(b)
}
