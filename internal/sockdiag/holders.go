//go:build linux

package sockdiag

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Holders finds the processes that have sockets open, by the sockets' inodes. A process
// that ends meanwhile is left out. It looks into /proc/PID/fd of every process below the
// proc folder, which takes CAP_SYS_PTRACE, and is an error for one that it may not look
// into. It does not see a socket that is on its way in a message, nor descriptors that a
// thread does not share with its process.
func Holders(proc string, inodes map[uint32]bool) (map[uint32][]uint32, error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	holders := map[uint32][]uint32{}
	for _, entry := range entries {
		pid, err := strconv.ParseUint(entry.Name(), 10, 32)
		if err != nil {
			continue
		}
		held, err := socketsOf(filepath.Join(proc, entry.Name(), "fd"))
		if err != nil {
			return nil, fmt.Errorf("list sockets of process %d: %w", pid, err)
		}
		for inode := range held {
			if inodes[inode] {
				holders[inode] = append(holders[inode], uint32(pid))
			}
		}
	}
	return holders, nil
}

// socketsOf lists the sockets among a process's descriptors; none if it has ended.
func socketsOf(folder string) (map[uint32]bool, error) {
	dir, err := os.Open(folder)
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil && !isGone(err) {
		return nil, err
	}
	sockets := map[uint32]bool{}
	for _, name := range names {
		target, err := os.Readlink(filepath.Join(folder, name))
		if err != nil {
			continue // closed meanwhile
		}
		number, isSocket := strings.CutPrefix(target, "socket:[")
		if inode, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32); isSocket && err == nil {
			sockets[uint32(inode)] = true
		}
	}
	return sockets, nil
}

// isGone reports whether a process ended while its folder was read.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}
