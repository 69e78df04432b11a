package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lanyardhq/lanyard/internal/folderlock"
	"github.com/lanyardhq/lanyard/internal/privatefile"
	"github.com/lanyardhq/lanyard/internal/trustedpath"
)

// The files of a state folder. The key is written first: with it, a registration
// whose answer was lost is repeated and gives the same workload.
const (
	lockFile      = "lock"
	keyFile       = "key.pem"
	nextKeyFile   = "next-key.pem"   // while it is not sure that the authority has it
	formerKeyFile = "former-key.pem" // until the key is replaced again: somebody else may have answered
	enrolmentFile = "enrolment.json"
)

// startAnew is the way out of a folder that cannot be used as it is.
const startAnew = "restore it, or remove the folder and enrol anew with a fresh ticket"

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
	lock *folderlock.Lock
}

// openFolder makes the folder if need be, locks it and removes what an interrupted
// predecessor left.
func openFolder(ctx context.Context, path string) (*folder, error) {
	if err := trustedpath.MakeFolder(path); err != nil {
		return nil, fmt.Errorf("make state folder: %w", err)
	}
	lock, err := folderlock.Take(ctx, filepath.Join(path, lockFile))
	var held *folderlock.HeldError
	if errors.As(err, &held) {
		err = fmt.Errorf("%w; two processes cannot be one workload, give each its own folder", err)
	}
	if err != nil {
		return nil, fmt.Errorf("lock state folder %s: %w", path, err)
	}
	if err := privatefile.RemoveLeftovers(path); err != nil {
		return nil, errors.Join(fmt.Errorf("clean state folder: %w", err), lock.Release())
	}
	return &folder{path: path, lock: lock}, nil
}

// close unlocks the folder.
func (f *folder) close() error { return f.lock.Release() }

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
	if err := json.Unmarshal([]byte(text), &e); err != nil || e.Base == "" || !isName(e.WorkloadID) || !isName(e.OperatorID) {
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

// MayBeEnrolled reports whether this state folder has an enrolment, as far as we may see
// into it.
func MayBeEnrolled(stateDir string) bool {
	_, err := os.Lstat(filepath.Join(stateDir, enrolmentFile))
	return !errors.Is(err, fs.ErrNotExist)
}
