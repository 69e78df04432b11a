//go:build linux

package attribution

import (
	"golang.org/x/sys/unix"
)

// file is what stat says about which file this is and how it is.
type file struct {
	device, inode uint64
	links         uint32
	mode          uint16
	size, blocks  int64  // in bytes, and in 512 bytes that were allocated
	mount         uint64 // id of the mount it was reached through, 0 if not known
}

// sameAs reports whether both are one file.
func (f file) sameAs(g file) bool { return f.device == g.device && f.inode == g.inode }

func (f file) regular() bool { return f.mode&unix.S_IFMT == unix.S_IFREG }

// statAt looks at a file through its links, the magic ones of /proc included. An
// empty path means the open file itself.
//
// A file system whose answer is another process's or another machine's is not
// asked: what the kernel remembers of the file has to do, since who answers may
// not. Only a path that leads through folders of such a file system can still
// block; a magic link of /proc does not lead through any.
func statAt(dir int, path string) (file, error) {
	const flags = unix.AT_NO_AUTOMOUNT | unix.AT_EMPTY_PATH | unix.AT_STATX_DONT_SYNC
	var st unix.Statx_t
	if err := unix.Statx(dir, path, flags, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st); err != nil {
		return file{}, err
	}
	f := file{
		device: unix.Mkdev(st.Dev_major, st.Dev_minor),
		inode:  st.Ino,
		links:  st.Nlink,
		mode:   st.Mode,
		size:   int64(st.Size),
		blocks: int64(st.Blocks),
	}
	if st.Mask&unix.STATX_MNT_ID != 0 {
		f.mount = st.Mnt_id
	}
	return f, nil
}
