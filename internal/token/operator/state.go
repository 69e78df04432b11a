package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The files of a state folder. The key is written first: with it, a registration
// whose answer was lost is repeated and gives the same workload.
const (
	lockFile      = "lock"
	keyFile       = "key.pem"
	enrolmentFile = "enrolment.json"
	newSuffix     = ".new" // of a file until it is complete
)

const (
	folderMode   = 0o700
	secretMode   = 0o600
	maxStateFile = 64 << 10

	// lockWait lets a predecessor that is stopping let go of the folder.
	lockWait  = 2 * time.Second
	lockPause = 20 * time.Millisecond
)

// Enrolment is what the authority made of an enrolled workload.
type Enrolment struct {
	Base       string `json:"base"` // the operator base it holds at
	WorkloadID string `json:"workload_id"`
	OperatorID string `json:"operator_id"`
}

// folder is a locked state folder. Nobody else uses it until close.
type folder struct {
	path string
	lock *os.File
}

// openFolder makes the folder if need be and locks it.
func openFolder(ctx context.Context, path string) (*folder, error) {
	if err := os.MkdirAll(path, folderMode); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, secretMode)
	if err != nil {
		return nil, fmt.Errorf("open lock of state folder: %w", err)
	}
	if err := takeLock(ctx, lock); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock state folder %s: %w", path, err)
	}
	return &folder{path: path, lock: lock}, nil
}

// takeLock locks the file and notes there who has it.
func takeLock(ctx context.Context, lock *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	for {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
			holder := make([]byte, 20)
			n, _ := lock.ReadAt(holder, 0)
			return fmt.Errorf("process %s uses it; two processes cannot be one workload, give each its own folder",
				strings.TrimSpace(string(holder[:n])))
		}
	}
	if err := lock.Truncate(0); err != nil {
		return err
	}
	_, err := lock.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}

// close unlocks the folder.
func (f *folder) close() error { return f.lock.Close() }

// key returns the folder's key pair, or nil if there is none yet.
func (f *folder) key() (*key, error) {
	path := filepath.Join(f.path, keyFile)
	data, err := readBounded(path, true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read private key: %w", err)
	}
	k, err := decodeKey(data)
	if err != nil {
		return nil, fmt.Errorf("read private key %s: %w; restore it, or remove the folder and enrol anew with a fresh ticket", path, err)
	}
	return k, nil
}

// makeKey makes the folder's key pair and writes it.
func (f *folder) makeKey() (*key, error) {
	k, err := makeKey()
	if err != nil {
		return nil, err
	}
	data, err := k.encode()
	if err != nil {
		return nil, err
	}
	if err := f.write(keyFile, data); err != nil {
		return nil, fmt.Errorf("write private key: %w", err)
	}
	return k, nil
}

// enrolment returns what was enrolled from this folder, or nil if nothing was.
func (f *folder) enrolment() (*Enrolment, error) {
	path := filepath.Join(f.path, enrolmentFile)
	data, err := readBounded(path, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read enrolment: %w", err)
	}
	var e Enrolment
	if err := json.Unmarshal(data, &e); err != nil || e.Base == "" || !isName(e.WorkloadID) {
		return nil, fmt.Errorf("read enrolment %s: it is damaged; restore it, or remove the folder and enrol anew with a fresh ticket", path)
	}
	return &e, nil
}

func (f *folder) writeEnrolment(e *Enrolment) error {
	data, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fmt.Errorf("write enrolment: %w", err)
	}
	if err := f.write(enrolmentFile, append(data, '\n')); err != nil {
		return fmt.Errorf("write enrolment: %w", err)
	}
	return nil
}

// write puts a file in place whole or not at all, whenever the power fails.
func (f *folder) write(name string, data []byte) (err error) {
	path := filepath.Join(f.path, name)
	temporary := path + newSuffix
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, secretMode)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = os.Remove(temporary)
		return err
	}
	return f.sync()
}

// sync makes the renaming of a file last.
func (f *folder) sync() error {
	dir, err := os.Open(f.path)
	if err != nil {
		return err
	}
	err = dir.Sync()
	if closed := dir.Close(); err == nil {
		err = closed
	}
	return err
}

// readBounded reads a regular file of sensible size; a secret one must be the
// owner's alone.
func readBounded(path string, secret bool) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Size() > maxStateFile:
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxStateFile)
	case secret && info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s has mode %04o and may have been read by others: enrol anew, or chmod 600 it if you know better",
			path, info.Mode().Perm())
	}
	return io.ReadAll(io.LimitReader(file, maxStateFile))
}
