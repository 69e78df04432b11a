//go:build linux

package attribution

import (
	"bytes"
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

// Facts says which facts that cost something are wanted.
type Facts struct {
	SHA256      bool // of the executable
	CommandLine bool
}

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
	digests    *digests
	foreign    map[int64]string // foreignFS
}

// NewReader makes a Reader. Close it after use.
func NewReader(c ReaderConfig) (*Reader, error) {
	r := &Reader{proc: c.Proc, root: c.Root, names: c.Names, digests: newDigests(), foreign: foreignFS}
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
	if r.cgroups == nil {
		return nil
	}
	return r.cgroups.Close()
}

// caller is what is known of a process before /proc is read.
type caller struct {
	image    workload.Image
	uid, gid uint32
	cgroupID uint64 // 0: not known
}

// read obtains the facts of a process. An error means that it could not be looked
// at.
func (r *Reader) read(c caller, facts Facts) (*workload.Process, error) {
	dir, err := r.open(c.image.PID)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return r.readFrom(dir, c, facts), nil
}

// readFrom is read for a process that is open. What cannot be learnt stays empty.
func (r *Reader) readFrom(dir *os.File, c caller, facts Facts) *workload.Process {
	p := &workload.Process{
		Image: c.image, UID: c.uid, GID: c.gid, CgroupID: c.cgroupID,
		User: r.names.UserName(c.uid), Group: r.names.GroupName(c.gid),
	}
	r.readExecutable(dir, p, facts.SHA256)
	if facts.CommandLine {
		p.CommandLine = readCommandLine(dir)
	}
	r.readCgroup(dir, p)
	return p
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

// readCommandLine returns the arguments, nil if they are not known.
func readCommandLine(dir *os.File) []string {
	text, err := readAt(dir, "cmdline", maxCommandLine)
	if err != nil || len(text) == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimSuffix(text, []byte{0})), "\x00")
}

// readCgroup fills in the cgroup and what follows from it. The path is that of
// the cgroup id at connect; what /proc says now counts only if it is the same.
func (r *Reader) readCgroup(dir *os.File, p *workload.Process) {
	if r.cgroups == nil {
		return
	}
	path, err := r.cgroups.Path(p.CgroupID)
	if err != nil {
		path = r.cgroupNow(dir, p)
	}
	p.Cgroup = path
	p.SystemdUnit = workload.SystemdUnit(path)
}

func (r *Reader) cgroupNow(dir *os.File, p *workload.Process) string {
	text, err := readAt(dir, "cgroup", maxProcFile)
	if err != nil {
		return ""
	}
	path := parseCgroup(string(text))
	if path == "" {
		return ""
	}
	id, err := r.cgroups.ID(path)
	if err != nil {
		return ""
	}
	if p.CgroupID == 0 {
		p.CgroupID = id
	}
	if id != p.CgroupID {
		return ""
	}
	return path
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
