//go:build linux

package kernel

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// File types of a cpio archive, as in stat(2).
const (
	typeFolder  = 0o040000
	typeFile    = 0o100000
	typeCharDev = 0o020000
)

// archive writes the "newc" form of cpio, which the kernel unpacks as its first
// file system.
type archive struct {
	out     *bufio.Writer
	written int64
	inode   int
	folders map[string]bool
	err     error
}

func newArchive(out io.Writer) *archive {
	return &archive{out: bufio.NewWriterSize(out, 1<<20), folders: map[string]bool{".": true}}
}

// addFile adds a copy of a file of the host.
func (a *archive) addFile(name, from string) {
	content, err := os.ReadFile(from)
	if err != nil {
		a.fail(err)
		return
	}
	a.addContent(name, content)
}

// addContent adds an executable file.
func (a *archive) addContent(name string, content []byte) {
	a.addFolder(path.Dir(name))
	a.entry(name, typeFile|0o755, content, 0, 0)
}

// addFolder adds a folder and those above it.
func (a *archive) addFolder(name string) {
	if a.folders[name] {
		return
	}
	a.addFolder(path.Dir(name))
	a.folders[name] = true
	a.entry(name, typeFolder|0o755, nil, 0, 0)
}

// addDevice adds a character device.
func (a *archive) addDevice(name string, major, minor int) {
	a.addFolder(path.Dir(name))
	a.entry(name, typeCharDev|0o600, nil, major, minor)
}

// addTree adds a folder of the host with all that is in it; nothing when it does
// not exist.
func (a *archive) addTree(name, from string) {
	err := filepath.WalkDir(from, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		relative, err := filepath.Rel(from, file)
		a.addFile(path.Join(name, filepath.ToSlash(relative)), file)
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		a.fail(err)
	}
}

// close ends the archive and returns the first error there was.
func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, nil, 0, 0)
	if a.err != nil {
		return fmt.Errorf("write initramfs: %w", a.err)
	}
	return a.out.Flush()
}

// entry writes one header with its name and content, both padded to four bytes.
func (a *archive) entry(name string, mode uint32, content []byte, major, minor int) {
	a.inode++
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.inode, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name)+1, 0)
	a.write([]byte(header))
	a.write([]byte(name + "\x00"))
	a.pad()
	a.write(content)
	a.pad()
}

func (a *archive) pad() {
	a.write(make([]byte, (4-a.written%4)%4))
}

func (a *archive) write(data []byte) {
	if a.err != nil {
		return
	}
	n, err := a.out.Write(data)
	a.written += int64(n)
	a.fail(err)
}

func (a *archive) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}
