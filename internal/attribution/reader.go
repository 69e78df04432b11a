//go:build linux

package attribution

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// maxCommandLine bounds a command line in bytes. A longer one counts as not
// known: its beginning alone could match where the whole would not.
const maxCommandLine = 256 << 10

// maxProcFile bounds what is read of any other file of /proc.
const maxProcFile = 64 << 10

// Names finds the names of users and groups; "" where there is none.
type Names interface {
	UserName(id uint32) string
	GroupName(id uint32) string
}

// ReaderConfig says where a Reader looks.
type ReaderConfig struct {
	Proc    string // mount point of the host's proc
	Root    string // the folder that paths of executables are looked up in
	Cgroup2 string // mount point of cgroup2, or "" to do without cgroups
	Names   Names
}

// Reader reads facts about processes out of /proc. By itself it cannot tell
// whether the process was the same one throughout; Attributor can. It is safe
// for concurrent use.
type Reader struct {
	proc, root string
	cgroups    *Cgroups // nil without
	names      Names
	mounts     *mountTable // of process 1
	here       *mountTable // our own
	digests    *digests
	foreign    map[string]string // foreignFS
	silent     map[string]bool   // silentFS
}

// NewReader makes a Reader. Close it after use.
func NewReader(c ReaderConfig) (*Reader, error) {
	r := &Reader{
		proc: c.Proc, root: c.Root, names: c.Names, digests: newDigests(), foreign: foreignFS, silent: silentFS,
		mounts: &mountTable{path: filepath.Join(c.Proc, "1/mountinfo")},
		here:   &mountTable{path: filepath.Join(c.Proc, "self/mountinfo")},
	}
	if c.Cgroup2 != "" {
		cgroups, err := OpenCgroups(c.Cgroup2)
		if err != nil {
			return nil, err
		}
		r.cgroups = cgroups
	}
	return r, nil
}

// Close closes what NewReader opened.
func (r *Reader) Close() error {
	err := errors.Join(r.mounts.close(), r.here.close())
	if r.cgroups != nil {
		err = errors.Join(err, r.cgroups.Close())
	}
	return err
}

// caller is what is known of a process before /proc is read.
type caller struct {
	image    workload.Image
	uid, gid uint32
	cgroupID uint64 // 0: not known
	party    workload.Party
}

// read obtains the facts of a process that are of interest. An error means that
// it could not be looked at, or not now.
func (r *Reader) read(ctx context.Context, c caller, interest Interest) (*reading, error) {
	dir, err := r.open(c.image.PID)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return r.readFrom(ctx, dir, c, interest)
}

// readFrom is read for a process that is open. What cannot be learnt stays empty;
// what could be learnt at another time is an error, since a process without it
// would pass for another.
//
// What costs nothing is read first: it decides whether the rest can matter.
func (r *Reader) readFrom(ctx context.Context, dir *os.File, c caller, interest Interest) (*reading, error) {
	p := &workload.Process{
		Image: c.image, UID: c.uid, GID: c.gid, CgroupID: c.cgroupID,
		User: r.names.UserName(c.uid), Group: r.names.GroupName(c.gid),
	}
	err := r.readExecutable(dir, p)
	if err == nil {
		err = r.readCgroup(dir, p)
	}
	if err != nil {
		return nil, err
	}
	got := &reading{process: p}
	wanted := interest(p, got.facts)
	if wanted.CommandLine {
		if p.CommandLine, err = readCommandLine(dir); err != nil {
			return nil, err
		}
		got.facts.CommandLine = true
		wanted = interest(p, got.facts)
	}
	if wanted.SHA256 {
		if err := r.readDigest(ctx, dir, c.party, p); err != nil {
			return nil, err
		}
		got.facts.SHA256 = true
	}
	return got, nil
}

// passes reports whether an error says nothing about the process or the file.
func passes(err error) bool {
	for _, passing := range []error{
		ErrBusy, context.DeadlineExceeded, context.Canceled,
		unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EAGAIN, unix.EINTR,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// open returns a folder of /proc that stands for the process, whoever gets its
// number later. A process whose first thread has ended shows its executable only
// in a thread that still runs.
func (r *Reader) open(pid uint32) (*os.File, error) {
	path := filepath.Join(r.proc, strconv.FormatUint(uint64(pid), 10))
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open process: %w", err)
	}
	if _, err := readlinkat(dir, "exe"); !errors.Is(err, unix.ENOENT) {
		return dir, nil
	}
	threads, err := os.ReadDir(filepath.Join(path, "task"))
	if err != nil {
		return dir, nil
	}
	for _, thread := range threads {
		other, err := openat(dir, "task/"+thread.Name(), unix.O_DIRECTORY)
		if err != nil {
			continue
		}
		if _, err := readlinkat(other, "exe"); err == nil {
			dir.Close()
			return other, nil
		}
		other.Close()
	}
	return dir, nil
}

func openat(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "openat", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name)), nil
}

func readlinkat(dir *os.File, name string) (string, error) {
	buf := make([]byte, unix.PathMax+len(deletedSuffix))
	n, err := unix.Readlinkat(int(dir.Fd()), name, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// readAt reads a file of /proc whole, and fails if it is longer than limit.
func readAt(dir *os.File, name string, limit int64) ([]byte, error) {
	f, err := openat(dir, name, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("read %s: longer than %d bytes", f.Name(), limit)
	}
	return text, nil
}

// readCommandLine returns the arguments, nil if they are not known. An error
// passes.
func readCommandLine(dir *os.File) ([]string, error) {
	text, err := readAt(dir, "cmdline", maxCommandLine)
	if passes(err) {
		return nil, err
	}
	if err != nil || len(text) == 0 {
		return nil, nil
	}
	return strings.Split(string(bytes.TrimSuffix(text, []byte{0})), "\x00"), nil
}

// readCgroup fills in the cgroup and what follows from it. The path is that of
// the cgroup id at connect; what /proc says now counts only if it is the same. An
// error passes.
func (r *Reader) readCgroup(dir *os.File, p *workload.Process) error {
	if r.cgroups == nil {
		return nil
	}
	path, err := r.cgroups.Path(p.CgroupID)
	if err != nil && !passes(err) {
		path, err = r.cgroupNow(dir, p)
	}
	if passes(err) {
		return err
	}
	p.Cgroup = path
	p.SystemdUnit = workload.SystemdUnit(path)
	return nil
}

func (r *Reader) cgroupNow(dir *os.File, p *workload.Process) (string, error) {
	text, err := readAt(dir, "cgroup", maxProcFile)
	if err != nil {
		return "", err
	}
	path := parseCgroup(string(text))
	if path == "" {
		return "", nil
	}
	id, err := r.cgroups.ID(path)
	if err != nil {
		return "", err
	}
	if p.CgroupID == 0 {
		p.CgroupID = id
	}
	if id != p.CgroupID {
		return "", nil
	}
	return path, nil
}

// parseCgroup returns the cgroup2 path of /proc/PID/cgroup, "" if there is none
// or it lies outside what we can see.
func parseCgroup(text string) string {
	for line := range strings.Lines(text) {
		path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if ok && strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "/..") {
			return path
		}
	}
	return ""
}
