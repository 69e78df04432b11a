//go:build !linux

package trustedpath

import "golang.org/x/sys/unix"

// searchFlags open a folder that is passed through; it must be readable here.
const searchFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// isReadOnly is for Kubernetes, which mounts nothing here.
func isReadOnly(int) bool { return false }
