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
)

// MaxBytes bounds a secret file.
const MaxBytes = 4096

// newPrefix begins the name of a file that is still being written.
const newPrefix = ".new-"

// Read returns the file's content without surrounding white space. A file that
// its group or others may access, that is not regular, too large, or empty is an
// error that names the file and what to do. A missing one is fs.ErrNotExist.
func Read(path string) (string, error) {
	return read(path, 0o077)
}

// ReadShared is Read of a file that others may read too, as somebody else made it:
// a secret that was mounted, say.
func ReadShared(path string) (string, error) {
	return read(path, 0)
}

func read(path string, forbidden fs.FileMode) (string, error) {
	// Without O_NONBLOCK, opening a FIFO would wait for somebody to write to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("read secret file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("read secret file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("read secret file %s: not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&forbidden != 0 {
		return "", fmt.Errorf("read secret file %s: mode %04o lets others in; run chmod 600 on it", path, mode)
	}
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
// left alone and is fs.ErrExist.
func Create(path, secret string) error {
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
		return fmt.Errorf("%w; the folder must be writable for user id %d", err, os.Geteuid())
	}
	defer func() {
		if removed := os.Remove(temporary.Name()); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
			err = errors.Join(err, removed)
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
