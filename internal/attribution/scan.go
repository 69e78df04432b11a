//go:build linux

package attribution

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// Scan reads the facts of every running process. A process that ends or executes
// another program meanwhile may be described wrongly, so that nothing may be
// decided by it. Kernel threads, which have no executable, are left out.
//
// A process whose executable we may not look at is among them, without an
// executable and with a note, unless the host shows us nothing of it; hidden
// counts those.
func (r *Reader) Scan(ctx context.Context, facts Facts) (processes []*workload.Process, hidden int, err error) {
	entries, err := os.ReadDir(r.proc)
	if err != nil {
		return nil, 0, fmt.Errorf("list processes: %w", err)
	}
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return nil, 0, fmt.Errorf("list processes: %w", err)
		}
		pid, err := strconv.ParseUint(entry.Name(), 10, 32)
		if err != nil {
			continue
		}
		p, denied := r.scanOne(ctx, uint32(pid), Always(facts))
		if p != nil {
			processes = append(processes, p)
		}
		if denied {
			hidden++
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, 0, fmt.Errorf("list processes: %w", err)
	}
	return processes, hidden, nil
}

// Process reads the facts of one running process, nil if it has ended, is a kernel
// thread, or may not be looked at. What Scan says of its worth holds here, too.
func (r *Reader) Process(ctx context.Context, pid uint32, i Interest) *workload.Process {
	p, denied := r.scanOne(ctx, pid, i)
	if denied {
		return nil
	}
	return p
}

// scanOne returns nil for a kernel thread and for a process that ended.
func (r *Reader) scanOne(ctx context.Context, pid uint32, i Interest) (p *workload.Process, denied bool) {
	dir, err := r.open(pid)
	if err != nil {
		return nil, errors.Is(err, fs.ErrPermission)
	}
	defer dir.Close()
	_, linkErr := readlinkat(dir, "exe")
	status, statusErr := readAt(dir, "status", maxProcFile)
	if errors.Is(linkErr, unix.ENOENT) || errors.Is(linkErr, unix.ESRCH) || statusErr != nil {
		return nil, false
	}
	denied = linkErr != nil
	uid, gid, ok := parseStatus(string(status))
	if !ok {
		return nil, denied
	}
	c := caller{image: workload.Image{PID: pid}, uid: uid, gid: gid}
	read, err := r.readFrom(ctx, dir, c, i)
	if err != nil {
		return nil, denied
	}
	return read.process, denied
}

// parseStatus returns the effective ids of /proc/PID/status.
func parseStatus(status string) (uid, gid uint32, ok bool) {
	found := map[string]bool{}
	for line := range strings.Lines(status) {
		name, values, _ := strings.Cut(line, ":")
		if name != "Uid" && name != "Gid" {
			continue
		}
		fields := strings.Fields(values) // real, effective, saved, file system
		if len(fields) != 4 {
			return 0, 0, false
		}
		id, err := strconv.ParseUint(fields[1], 10, 32)
		if err != nil {
			return 0, 0, false
		}
		if name == "Uid" {
			uid = uint32(id)
		} else {
			gid = uint32(id)
		}
		found[name] = true
	}
	return uid, gid, len(found) == 2
}
