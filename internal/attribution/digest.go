//go:build linux

package attribution

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

const (
	// maxExecutable bounds the size of a file that is hashed: above the largest
	// programs with everything linked in, below what takes seconds.
	maxExecutable = 1 << 30
	// maxDigests bounds the cache: more than the programs of a large host.
	maxDigests = 4096
	// A file above sparseSize of which less than a part in sparsePart is allocated
	// is not hashed. It costs its owner nothing, however large it is, and no program
	// looks like that: file systems that compress save less.
	sparseSize, sparsePart = 16 << 20, 32
)

// version names one state of one file.
type version struct {
	device, inode uint64
	size          int64
	mtime, ctime  unix.Timespec
}

func versionOf(f *os.File) (version, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return version{}, err
	}
	return version{uint64(st.Dev), st.Ino, st.Size, st.Mtim, st.Ctim}, nil
}

// readDigest fills in the digest of the executable, or why it has none. An error
// passes.
func (r *Reader) readDigest(ctx context.Context, dir *os.File, by workload.Party, p *workload.Process) error {
	digest, err := r.digest(ctx, dir, by)
	if passes(err) {
		return err
	}
	if err != nil {
		p.ExecutableNote = strings.TrimPrefix(p.ExecutableNote+"; no digest: "+err.Error(), "; ")
	}
	p.SHA256 = digest
	return nil
}

// digest returns the SHA-256 of the running file, read through /proc and never
// by its path. It is opened only when it is known to be a file that is hashed.
func (r *Reader) digest(ctx context.Context, dir *os.File, by workload.Party) (string, error) {
	seen, err := openat(dir, "exe", unix.O_PATH) // its file system is not told
	if err != nil {
		return "", err
	}
	defer seen.Close()
	exe, err := statAt(int(seen.Fd()), "")
	if err != nil {
		return "", err
	}
	if err := hashable(exe); err != nil {
		return "", err
	}
	if err := r.steady(dir, exe); err != nil {
		return "", err
	}
	f, err := openat(dir, "exe", 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	now, err := statAt(int(f.Fd()), "")
	if err != nil {
		return "", err
	}
	if !now.sameAs(exe) || now.mount != exe.mount {
		return "", errors.New("the executable changed while it was looked at")
	}
	v, err := versionOf(f)
	if err != nil {
		return "", err
	}
	return r.digests.get(ctx, f, v, by)
}

// hashable refuses what is never hashed, by its kind and size.
func hashable(exe file) error {
	switch {
	case !exe.regular():
		return errors.New("the executable is no regular file")
	case exe.size > maxExecutable:
		return fmt.Errorf("the executable has %d bytes, more than the %d that are hashed", exe.size, maxExecutable)
	case exe.size > sparseSize && exe.blocks*512 < exe.size/sparsePart:
		return fmt.Errorf("the executable is sparse: of its %d bytes only %d are allocated", exe.size, exe.blocks*512)
	}
	return nil
}

// digests remembers the digests of files for as long as they do not change.
type digests struct {
	hasher *hasher

	mu      sync.Mutex
	known   *byParty[version, string] // at most maxDigests
	flights map[version]*hashing
}

// hashing is the hashing of one file under way.
type hashing struct {
	done   chan struct{} // closed when the others are set
	digest string
	err    error
}

func newDigests() *digests {
	return &digests{
		hasher:  newHasher(),
		known:   newByParty[version, string](maxDigests),
		flights: make(map[version]*hashing),
	}
}

// get returns the digest of an open file, which is read only if it was not read
// in this state before, and by one caller at a time. Whoever reads it is charged.
func (d *digests) get(ctx context.Context, f *os.File, v version, by workload.Party) (string, error) {
	for {
		h, first, known := d.join(v)
		switch {
		case known != "":
			return known, nil
		case first:
			h.digest, h.err = d.hash(ctx, f, v, by)
			d.land(v, h, by)
			return h.digest, h.err
		}
		select {
		case <-h.done:
		case <-ctx.Done():
			return "", ctx.Err()
		}
		// That another party may not have it read, or has no time, is not our affair.
		if !passes(h.err) {
			return h.digest, h.err
		}
	}
}

func (d *digests) join(v version) (h *hashing, first bool, known string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if digest, ok := d.known.get(v); ok {
		return nil, false, digest
	}
	if h := d.flights[v]; h != nil {
		return h, false, ""
	}
	h = &hashing{done: make(chan struct{})}
	d.flights[v] = h
	return h, true, ""
}

func (d *digests) land(v version, h *hashing, by workload.Party) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.flights, v)
	if h.err == nil {
		d.known.put(v, h.digest, by)
	}
	close(h.done)
}

func (d *digests) hash(ctx context.Context, f *os.File, v version, by workload.Party) (string, error) {
	h := sha256.New()
	n, err := d.hasher.copy(ctx, h, io.LimitReader(f, v.size+1), v.size, by)
	if err != nil {
		return "", fmt.Errorf("read executable: %w", err)
	}
	after, err := versionOf(f)
	if err != nil {
		return "", fmt.Errorf("read executable: %w", err)
	}
	if after != v || n != v.size {
		return "", errors.New("the executable changed while it was read")
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
