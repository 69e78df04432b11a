package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lanyardhq/lanyard/internal/privatefile"
)

// The files of a state folder. The key is written first: with it, a registration
// whose answer was lost is repeated and gives the same workload.
const (
	lockFile      = "lock"
	keyFile       = "key.pem"
	nextKeyFile   = "next-key.pem" // while it is not sure that the authority has it
	enrolmentFile = "enrolment.json"
)

// startAnew is the way out of a folder that cannot be used as it is.
const startAnew = "restore it, or remove the folder and enrol anew with a fresh ticket"

const (
	folderMode = 0o700
	lockMode   = 0o600

	// lockWait lets a predecessor that is stopping let go of the folder.
	lockWait  = 2 * time.Second
	lockPause = 20 * time.Millisecond
)

// Enrolment is what the authority made of an enrolled workload.
type Enrolment struct {
	Base       string `json:"base"` // the operator base it holds at
	WorkloadID string `json:"workload_id"`
	OperatorID string `json:"operator_id"`
	// TicketSHA256 tells the ticket that it was enrolled with from others.
	TicketSHA256 string `json:"ticket_sha256,omitempty"`
	// Host is where that was, if it was told: a copy of the folder shows.
	Host string `json:"host,omitempty"`
}

// folder is a locked state folder. Nobody else uses it until close.
type folder struct {
	path string
	lock *os.File
}

// openFolder makes the folder if need be, locks it and removes what an interrupted
// predecessor left.
func openFolder(ctx context.Context, path string) (*folder, error) {
	if err := os.MkdirAll(path, folderMode); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, lockMode)
	if err != nil {
		return nil, fmt.Errorf("open lock of state folder: %w", err)
	}
	if err := takeLock(ctx, lock); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock state folder %s: %w", path, err)
	}
	if err := privatefile.RemoveLeftovers(path); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("clean state folder: %w", err)
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

// enrolment returns what was enrolled from this folder, or nil if nothing was. It
// is no secret, so that its owner may let others read it.
func (f *folder) enrolment() (*Enrolment, error) {
	path := filepath.Join(f.path, enrolmentFile)
	text, err := privatefile.ReadShared(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read enrolment: %w; %s", err, startAnew)
	}
	var e Enrolment
	if err := json.Unmarshal([]byte(text), &e); err != nil || e.Base == "" || !isName(e.WorkloadID) {
		return nil, fmt.Errorf("read enrolment %s: it is damaged; %s", path, startAnew)
	}
	return &e, nil
}

func (f *folder) writeEnrolment(e *Enrolment) error {
	text, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fmt.Errorf("write enrolment: %w", err)
	}
	if err := privatefile.Create(filepath.Join(f.path, enrolmentFile), string(text)); err != nil {
		return fmt.Errorf("write enrolment: %w", err)
	}
	return nil
}
