//go:build linux

package attribution

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// mountTable is the mount table of process 1 or our own.
// It is read again only when the kernel says that it changed, as on a host with
// many containers it is long. It is safe for concurrent use.
type mountTable struct {
	path string

	mu       sync.Mutex
	table    *os.File // nil before the first look
	byID     map[uint64]string
	byDevice map[uint64]string
	reads    int // how often it was read
}

// typeOf returns the type of the file system that a file was reached through a
// mount of, or else of the one of this device number; "" where the table has
// neither.
func (h *mountTable) typeOf(f file) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.refresh(); err != nil {
		return "", err
	}
	if fsType, ok := h.byID[f.mount]; ok && f.mount != 0 {
		return fsType, nil
	}
	return h.byDevice[f.device], nil
}

// has reports whether the table has a mount of this id.
func (h *mountTable) has(id uint64) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.refresh(); err != nil {
		return false, err
	}
	_, ok := h.byID[id]
	return ok && id != 0, nil
}

func (h *mountTable) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.table == nil {
		return nil
	}
	return h.table.Close()
}

// refresh reads the table if it is new or changed since the last call.
func (h *mountTable) refresh() error {
	if h.table == nil {
		// Not by os.Open: the runtime's own poll would be told of a change in our stead.
		fd, err := unix.Open(h.path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("read mount table: %w", &os.PathError{Op: "open", Path: h.path, Err: err})
		}
		h.table = os.NewFile(uintptr(fd), h.path)
	} else if changed, err := h.changed(); err != nil || !changed && h.byID != nil {
		return err
	}
	h.byID, h.byDevice = nil, nil
	for changed, tries := true, 0; changed && tries < 3; tries++ {
		if err := h.read(); err != nil {
			return err
		}
		var err error
		if changed, err = h.changed(); err != nil { // while it was read
			return err
		}
	}
	return nil
}

func (h *mountTable) read() error {
	if _, err := h.table.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read mount table: %w", err)
	}
	byID, byDevice := make(map[uint64]string), make(map[uint64]string)
	err := eachMount(h.table, func(m mount) bool {
		byID[m.id] = m.fsType
		if m.device != 0 {
			byDevice[m.device] = m.fsType
		}
		return true
	})
	if err != nil {
		return err
	}
	h.byID, h.byDevice = byID, byDevice
	h.reads++
	return nil
}

// changed reports whether the kernel changed the table since it was opened, or
// since the last call (proc_pid_mountinfo(5)).
func (h *mountTable) changed() (bool, error) {
	for {
		fds := []unix.PollFd{{Fd: int32(h.table.Fd()), Events: unix.POLLPRI}}
		n, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("poll mount table: %w", err)
		}
		return n > 0 && fds[0].Revents&(unix.POLLPRI|unix.POLLERR) != 0, nil
	}
}
