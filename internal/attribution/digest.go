//go:build linux

package attribution

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"
)

const (
	// maxExecutable bounds the size of a file that is hashed: above the largest
	// programs with everything linked in, below what takes seconds.
	maxExecutable = 1 << 30
	// maxDigests bounds the cache: more than the programs of a large host.
	maxDigests = 4096
	// hashBuffer is read at a time.
	hashBuffer = 128 << 10
	// maxHashing bounds how many files are hashed at a time, so that a user who
	// runs large programs cannot have the agent use every core.
	maxHashing = 2
)

// foreignFS are file systems whose content another machine or another process
// can change between two reads, with what they are called.
var foreignFS = map[int64]string{
	unix.FUSE_SUPER_MAGIC: "FUSE",
	unix.NFS_SUPER_MAGIC:  "NFS",
	unix.SMB_SUPER_MAGIC:  "SMB",
	unix.SMB2_SUPER_MAGIC: "SMB",
	unix.CIFS_SUPER_MAGIC: "CIFS",
	unix.CEPH_SUPER_MAGIC: "Ceph",
	unix.AFS_SUPER_MAGIC:  "AFS",
	unix.AFS_FS_MAGIC:     "AFS",
	unix.V9FS_MAGIC:       "9P",
	unix.CODA_SUPER_MAGIC: "Coda",
	unix.NCP_SUPER_MAGIC:  "NCP",
}

// version names one state of one file.
type version struct {
	device, inode uint64
	size          int64
	mtime, ctime  unix.Timespec
}

func versionOf(f *os.File) (version, uint32, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return version{}, 0, err
	}
	return version{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}, st.Mode, nil
}

// digests remembers the digests of files for as long as they do not change.
type digests struct {
	flights singleflight.Group
	slots   chan struct{}

	mu    sync.Mutex
	known map[version]string
}

func newDigests() *digests {
	return &digests{slots: make(chan struct{}, maxHashing), known: make(map[version]string)}
}

// digest returns the SHA-256 of the running file, read through /proc and never
// by its path.
func (r *Reader) digest(dir *os.File) (string, error) {
	f, err := openat(dir, "exe", 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := r.steady(dir, f); err != nil {
		return "", err
	}
	v, mode, err := versionOf(f)
	if err != nil {
		return "", err
	}
	if mode&unix.S_IFMT != unix.S_IFREG {
		return "", errors.New("the executable is no regular file")
	}
	if v.size > maxExecutable {
		return "", fmt.Errorf("the executable has %d bytes, more than the %d that are hashed", v.size, maxExecutable)
	}
	return r.digests.get(f, v)
}

// steady refuses files whose content somebody else decides at every read. An
// overlay hides what lies below it, so it counts only if the host mounted it: an
// unprivileged user can put one over a FUSE of his own.
func (r *Reader) steady(dir, f *os.File) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return err
	}
	if name, ok := r.foreign[int64(uint32(fs.Type))]; ok {
		return fmt.Errorf("the executable is on %s, whose content can change between two reads", name)
	}
	if int64(fs.Type) != unix.OVERLAYFS_SUPER_MAGIC {
		return nil
	}
	return r.hostMounted(dir)
}

// hostMounted returns nil if the executable was reached through a mount that
// only the host's administrator can have made: one of PID 1's mount namespace, or
// of a namespace that belongs to our own user namespace, as a container's does.
func (r *Reader) hostMounted(dir *os.File) error {
	exe, err := statAt(int(dir.Fd()), "exe")
	if err != nil {
		return err
	}
	mounts, err := readMounts(filepath.Join(r.proc, "1/mountinfo"))
	if err == nil && hasMount(mounts, exe.mount) {
		return nil
	}
	table, err := openat(dir, "mountinfo", 0)
	if err != nil {
		return err
	}
	defer table.Close()
	if mounts, err = parseMounts(table); err != nil {
		return err
	}
	if !hasMount(mounts, exe.mount) || !r.ownedByHost(dir) {
		return errors.New("the executable is on an overlay that the host did not mount, whose layers can change between two reads")
	}
	return nil
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

// get returns the digest of an open file, which is read only if it was not read
// in this state before, and by one caller at a time.
func (d *digests) get(f *os.File, v version) (string, error) {
	d.mu.Lock()
	known, ok := d.known[v]
	d.mu.Unlock()
	if ok {
		return known, nil
	}
	digest, err, _ := d.flights.Do(fmt.Sprint(v), func() (any, error) { return d.hash(f, v) })
	if err != nil {
		return "", err
	}
	return digest.(string), nil
}

func (d *digests) hash(f *os.File, v version) (string, error) {
	d.slots <- struct{}{}
	defer func() { <-d.slots }()
	h := sha256.New()
	n, err := io.CopyBuffer(h, io.LimitReader(f, maxExecutable+1), make([]byte, hashBuffer))
	if err != nil {
		return "", fmt.Errorf("read executable: %w", err)
	}
	after, _, err := versionOf(f)
	if err != nil {
		return "", fmt.Errorf("read executable: %w", err)
	}
	if after != v || n != v.size {
		return "", errors.New("the executable changed while it was read")
	}
	digest := hex.EncodeToString(h.Sum(nil))
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.known) >= maxDigests {
		for old := range d.known {
			delete(d.known, old)
			break
		}
	}
	d.known[v] = digest
	return digest, nil
}
