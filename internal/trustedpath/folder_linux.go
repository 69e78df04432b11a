package trustedpath

import (
	"errors"

	"golang.org/x/sys/unix"
)

// searchFlags open a folder that is only passed through, which one that must not
// be listed can be.
const searchFlags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// isReadOnly reports whether nothing can be written through the mount by which an open
// folder was reached (statfs, ST_RDONLY). A FUSE file system says of itself whose its
// files are and what is in them, so there it means nothing.
func isReadOnly(dir int) bool {
	var fs unix.Statfs_t
	for {
		err := unix.Fstatfs(dir, &fs)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && fs.Flags&unix.ST_RDONLY != 0 && fs.Type != unix.FUSE_SUPER_MAGIC
	}
}
