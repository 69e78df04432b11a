//go:build linux

package probe

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ensureBPFFS mounts the BPF file system where it is expected and missing, as other
// loaders do; most hosts have it. It hides nobody's files: what it mounts over is
// empty. It stays mounted, since the pins of a killed agent need it.
func ensureBPFFS(path string, log *slog.Logger) error {
	is, err := isBPFFS(path)
	if err != nil {
		return fmt.Errorf("find BPF file system at %s: %w; make the folder, and mount it there: %s", path, err, mountCommand(path))
	}
	if is {
		return nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("find BPF file system at %s: %w", path, err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("mount BPF file system at %s: there are files, %s for one, which it would hide; "+
			"let LANYARD_BPFFS name a BPF file system (/sys/fs/bpf on most hosts) or an empty folder", path, entries[0].Name())
	}
	if err := unix.Mount("bpf", path, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("mount BPF file system at %s: %w; mount it yourself: %s", path, err, mountCommand(path))
	}
	log.Info("mounted the BPF file system, which stays mounted when the agent ends", "path", path)
	return nil
}

// checkOutlives says why what is pinned below a BPF file system may not outlive this
// process: it is mounted in this mount namespace only, as a container's that was not given
// the host's. It is looked for by its device in the mounts of process 1.
func checkOutlives(path, proc string) error {
	var here unix.Stat_t
	if err := unix.Stat(path, &here); err != nil {
		return fmt.Errorf("find BPF file system at %s: %w", path, err)
	}
	mounts, err := os.Open(filepath.Join(proc, "1/mountinfo"))
	if err != nil {
		return fmt.Errorf("whether the BPF file system at %s is the host's cannot be told: %w", path, err)
	}
	defer mounts.Close()
	device := fmt.Sprintf("%d:%d", unix.Major(here.Dev), unix.Minor(here.Dev))
	lines := bufio.NewScanner(mounts)
	lines.Buffer(nil, 1<<20) // an overlay's options name every layer
	for lines.Scan() {
		if fields := strings.Split(lines.Text(), " "); len(fields) > 2 && fields[2] == device {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("whether the BPF file system at %s is the host's cannot be told: %w", path, err)
	}
	return fmt.Errorf("the BPF file system at %s is mounted for this container only, and hooks and pins end with it; mount the host's into it: -v /sys/fs/bpf:/sys/fs/bpf", path)
}

// Outlives returns nil if the pins stay when the mount namespace of this process ends.
func (p *Probe) Outlives() error { return checkOutlives(p.pins.bpffs, "/proc") }

// mountCommand is how to mount one by hand. Without a mode everybody could write to it.
func mountCommand(path string) string { return "mount -t bpf -o mode=0700 bpf " + path }

func isBPFFS(path string) (bool, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return false, err
	}
	return fs.Type == unix.BPF_FS_MAGIC, nil
}
