//go:build linux

package probe

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
)

// learnInterval is how soon a replaced executable, or a cgroup that was made anew,
// is known for certain where its path was configured. Until then it is a candidate.
const learnInterval = 10 * time.Second

// keepLearning finds out, again and again, which files and cgroups stand at the
// paths that identities name. It may wait for a file system, and so has a goroutine
// of its own.
func (p *Probe) keepLearning(ctx context.Context) error {
	tick := time.NewTicker(learnInterval)
	defer tick.Stop()
	for {
		if err := p.learnPaths(); err != nil {
			p.log.Warn("the kernel does not know every file and cgroup that identities name", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-p.relearn:
		}
	}
}

func (p *Probe) learnPaths() error {
	p.mu.Lock()
	generation, paths := p.settings.Generation, p.watch.paths
	p.mu.Unlock()
	files, err := p.filesAt(paths.files)
	cgroups := p.cgroupsAt(paths.cgroups)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.settings.Generation != generation {
		return nil // whoever changed that has us look again
	}
	return errors.Join(p.learnt.nameCgroups(cgroups), err, p.learnt.nameFiles(files))
}

// filesAt returns the files that stand at paths now. One that cannot be looked at
// keeps nobody from the others.
func (p *Probe) filesAt(paths map[string]uint64) (map[bpf.ConnectFileId]uint64, error) {
	files := make(map[bpf.ConnectFileId]uint64, len(paths))
	var errs []error
	for path, mask := range paths {
		id, err := p.fileAt(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("look at %s: %w", path, err))
		} else if id != (bpf.ConnectFileId{}) {
			files[id] |= mask
		}
	}
	return files, errors.Join(errs...)
}

func (p *Probe) cgroupsAt(paths map[string]uint64) map[uint64]uint64 {
	cgroups := make(map[uint64]uint64, len(paths))
	for path, mask := range paths {
		if id, err := p.cgroupAt(path); err == nil { // it may not be there yet
			cgroups[id] |= mask
		}
	}
	return cgroups
}

// fileAt asks the kernel which file a path leads to, nothing where there is none.
func (p *Probe) fileAt(path string) (bpf.ConnectFileId, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return bpf.ConnectFileId{}, nil // absent, or not to be reached from here
	}
	defer unix.Close(fd)
	query := bpf.ProcessFileQuery{Fd: uint32(fd)}
	ret, err := p.process.LanyardFile.Run(&ebpf.RunOptions{Context: &query, ContextOut: &query})
	if err != nil || ret != 0 {
		return bpf.ConnectFileId{}, fmt.Errorf("identify file: result %d: %w", int32(ret), err)
	}
	return bpf.ConnectFileId(query.File), nil
}

// cgroupAt returns the id of the cgroup at a path below the cgroup2 root.
func (p *Probe) cgroupAt(path string) (uint64, error) {
	if p.cgroupRoot == "" {
		return 0, os.ErrNotExist
	}
	return cgroupID(filepath.Join(p.cgroupRoot, path))
}
