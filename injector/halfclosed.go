package injector

import (
	"errors"

	"golang.org/x/sys/unix"
)

var errResetAfterEnd = errors.New("the destination reset the connection after its last byte")

// passResetOn waits, where the destination has sent its last byte and the client goes on
// sending, for what a socket of the client's own would hear at once: that the
// destination takes no more. Nothing else would notice before the client's next bytes
// but one. It ends with the upstream's socket at the latest.
func (c *conn) passResetOn() {
	mode := c.mode.Load()
	if c.upstream == nil || mode == modeHTTP || mode == modeBroken || c.aborted.Load() {
		return
	}
	raw, err := c.upstream.SyscallConn()
	if err != nil {
		return
	}
	wasRefused := false
	_ = raw.Read(func(fd uintptr) (over bool) {
		errno, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		wasRefused = err == nil && errno != 0
		return wasRefused || err != nil || wasReset(raw)
	})
	// What waits for a client that reads slowly would be lost.
	if _, waiting := sent(c.client); wasRefused && !waiting && c.mode.Load() == modeOpaque {
		c.abort(errResetAfterEnd)
	}
}
