package privatefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/lanyardhq/lanyard/internal/trustedpath"
)

// MaxBytes bounds a secret file.
const MaxBytes = 4096

// newPrefix begins the name of a file that is still being written.
const newPrefix = ".new-"

// Read returns the content of a file of our own, without surrounding white space. One
// that its group or others may access, that belongs to somebody else, is a link or
// lies where others can exchange it is a *trustedpath.UntrustedError; one that is not
// regular, too large or empty is an error too. A missing one is fs.ErrNotExist.
func Read(path string) (string, error) { return read(path, trustedpath.Secret) }

// ReadShared is Read of a file that others may read too.
func ReadShared(path string) (string, error) { return read(path, trustedpath.Kept) }

// ReadGiven is ReadShared of a file that somebody gave us, and that may be a link of
// root's or of ours: a secret that was mounted, say.
func ReadGiven(path string) (string, error) { return read(path, trustedpath.Given) }

// ReadGivenSecret is Read of a file that somebody gave us, and that may be a link of
// root's or of ours. If it is root's and we are not, its group may read it, too.
func ReadGivenSecret(path string) (string, error) { return read(path, trustedpath.GivenSecret) }

func read(path string, rule trustedpath.Rule) (string, error) {
	f, err := trustedpath.Open(path, rule)
	if err != nil {
		return "", fmt.Errorf("read secret file: %w", err)
	}
	return content(f, path)
}

// ReadLent is Read of a file that may belong to somebody else and lie anywhere: root
// administers an authority that runs as another user by that user's token.
func ReadLent(path string) (string, error) {
	// Without O_NONBLOCK, opening a FIFO would wait for somebody to write to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("read secret file: %w", err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = fmt.Errorf("read secret file: %w", err)
	case !info.Mode().IsRegular():
		err = fmt.Errorf("read secret file %s: not a regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		err = fmt.Errorf("read secret file %s: mode %04o lets others in; run chmod 600 on it", path, info.Mode().Perm())
	}
	if err != nil {
		return "", errors.Join(err, f.Close())
	}
	return content(f, path)
}

// content reads the secret and closes the file.
func content(f *os.File, path string) (string, error) {
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return "", fmt.Errorf("read secret file %s: %w", path, err)
	}
	if len(content) > MaxBytes {
		return "", fmt.Errorf("read secret file %s: longer than %d bytes", path, MaxBytes)
	}
	secret := strings.TrimSpace(string(content))
	if secret == "" {
		return "", fmt.Errorf("read secret file %s: empty", path)
	}
	return secret, nil
}

// Create writes a new file of mode 0600 that holds the secret and a line break.
// It is there whole and on disk, or not at all; a file that exists already is
// left alone and is fs.ErrExist. A folder in which others could exchange it is a
// *trustedpath.UntrustedError.
func Create(path, secret string) error {
	if err := trustedpath.CheckFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("create secret file %s: %w", path, err)
	}
	return CreateBy(path, func(f *os.File) error {
		_, err := f.WriteString(secret + "\n")
		return err
	})
}

// CreateBy is Create of what fill writes into the file, by its handle or its name.
func CreateBy(path string, fill func(*os.File) error) error {
	// A link, unlike a rename, never replaces what is there.
	if err := write(path, fill, os.Link); err != nil {
		return fmt.Errorf("create secret file %s: %w", path, err)
	}
	return nil
}

// ReplaceBy is CreateBy where the file may exist: until the new one is whole it
// stays as it was.
func ReplaceBy(path string, fill func(*os.File) error) error {
	if err := write(path, fill, os.Rename); err != nil {
		return fmt.Errorf("replace secret file %s: %w", path, err)
	}
	return nil
}

func write(path string, fill func(*os.File) error, place func(from, to string) error) (err error) {
	dir := filepath.Dir(path)
	temporary, err := os.CreateTemp(dir, newPrefix+"*") // mode 0600
	if err != nil {
		var failed *fs.PathError
		if errors.As(err, &failed) {
			err = renamed{err, failed.Path, path}
		}
		return fmt.Errorf("%w; the folder must be writable for user id %d", err, os.Geteuid())
	}
	defer func() {
		if removed := os.Remove(temporary.Name()); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
			err = errors.Join(err, removed)
		}
		if err != nil {
			err = renamed{err, temporary.Name(), path}
		}
	}()
	err = fill(temporary)
	if err == nil {
		err = temporary.Sync()
	}
	if err := errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	if err := place(temporary.Name(), path); err != nil {
		return err
	}
	return syncFolder(dir)
}

// renamed is an error in whose text a file has the name that it was to get: that of a
// temporary file is another at each attempt, and who repeats one tells by the text of its
// error whether that is news.
type renamed struct {
	error
	from, to string
}

// Error implements error.
func (e renamed) Error() string { return strings.ReplaceAll(e.error.Error(), e.from, e.to) }

// Unwrap returns the error with the other name.
func (e renamed) Unwrap() error { return e.error }

// Replace moves a secret file over another of the same folder: afterwards there is
// the new one, and never a moment without either.
func Replace(from, to string) error {
	err := os.Rename(from, to)
	if err == nil {
		err = syncFolder(filepath.Dir(to))
	}
	if err != nil {
		return fmt.Errorf("replace secret file %s: %w", to, err)
	}
	return nil
}

// ReplaceKeeping is Replace that keeps what is replaced by another name of the same
// folder, in the place of what has that name. Wherever it is cut off, each of the two
// has a name; after a failure, too.
func ReplaceKeeping(from, to, kept string) error {
	err := os.Remove(kept)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = os.Link(to, kept)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(kept)) // before the other name may be gone from the disk
	}
	if err != nil {
		return fmt.Errorf("keep secret file %s: %w", to, err)
	}
	return Replace(from, to)
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// RemoveLeftovers removes what a Create in this folder left that was cut off. It
// is for who knows that nobody else is in the middle of one.
func RemoveLeftovers(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("remove leftovers: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), newPrefix) {
			errs = append(errs, os.Remove(filepath.Join(dir, entry.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove leftovers: %w", err)
	}
	return nil
}
