package trustedpath

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Modes of folders that are made. 0, which is none's, is to make nothing.
const (
	privateFolder = 0o700
	sharedFolder  = 0o755
)

// Open opens a regular file for reading. What the rule refuses, or the way there,
// is an *UntrustedError; a missing file is fs.ErrNotExist.
func Open(path string, rule Rule) (*os.File, error) {
	w, err := start(path)
	if err != nil {
		return nil, err
	}
	defer w.close()
	for {
		name, more := w.pop()
		if more {
			if err := w.enter(name, 0); err != nil {
				return nil, err
			}
			continue
		}
		if name == "" || name == ".." {
			return nil, fmt.Errorf("%s is not a regular file", quote(path))
		}
		var st unix.Stat_t
		if err := w.stat(name, &st); err != nil {
			return nil, err
		}
		if kind(&st) != unix.S_IFLNK {
			return w.open(name, &st, rule)
		}
		if !rule.links {
			return nil, &UntrustedError{w.path(name), "is a link", "put the file itself there, or name the file that it leads to"}
		}
		if err := w.follow(name, &st); err != nil {
			return nil, err
		}
	}
}

// Read returns the content of a file that Open opens. One that is longer than so
// many bytes is an error.
func Read(path string, rule Rule, most int64) ([]byte, error) {
	f, err := Open(path, rule)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(content)) > most {
		return nil, fmt.Errorf("%s is longer than %d bytes", quote(path), most)
	}
	return content, nil
}

// CheckFolder reports whether what is in a folder can be relied on to stay there:
// nil, or an *UntrustedError.
func CheckFolder(path string) error {
	w, err := start(path)
	if err != nil {
		return err
	}
	defer w.close()
	return w.enterAll(0)
}

// MakeFolder makes a folder for our files, with those above it, where it is
// missing, all of mode 0700. Others may write nothing in it, sticky or not.
func MakeFolder(path string) error { return makeFolder(path, privateFolder) }

// MakeSharedFolder is MakeFolder of a folder that others may go into: what it makes
// has mode 0755.
func MakeSharedFolder(path string) error { return makeFolder(path, sharedFolder) }

func makeFolder(path string, mode uint32) error {
	w, err := start(path)
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.enterAll(mode); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(w.dir, &st); err != nil {
		return w.failed("stat", w.at, err)
	}
	if permissions(&st)&0o022 != 0 {
		return w.owners.writableFolder(w.at, &st)
	}
	return nil
}
