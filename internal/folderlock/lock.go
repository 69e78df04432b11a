package folderlock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	lockMode = 0o600

	// wait lets a predecessor that is stopping let go of the folder.
	wait  = 2 * time.Second
	pause = 20 * time.Millisecond
)

// HeldError says that another process has the lock.
type HeldError struct {
	PID string // as that process noted it
}

// Error names the process.
func (e *HeldError) Error() string { return fmt.Sprintf("process %s uses it", e.PID) }

// Lock is held until Release, or until the process ends in whatever way.
type Lock struct {
	file *os.File
}

// Take locks the file at path, which it makes with mode 0600 if need be, and notes
// there who has it. After two seconds in which another process has it, that is a
// *HeldError.
func Take(ctx context.Context, path string) (*Lock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, lockMode)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := take(ctx, file); err != nil {
		_ = file.Close()
		return nil, err
	}
	return &Lock{file: file}, nil
}

func take(ctx context.Context, file *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			holder := make([]byte, 20)
			n, _ := file.ReadAt(holder, 0)
			return &HeldError{PID: strings.TrimSpace(string(holder[:n]))}
		}
	}
	return note(file)
}

// note writes down who has the lock. It is for whoever is refused, and so not worth
// failing for where the disk is full.
func note(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	if errors.Is(err, syscall.ENOSPC) {
		return nil
	}
	return err
}

// Release lets go of the folder. The file stays: whoever removed it would let two
// processes lock two files of one name.
func (l *Lock) Release() error { return l.file.Close() }
