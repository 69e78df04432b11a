package injector

import (
	"errors"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tcpClose is TCP_CLOSE of the kernel's socket states: the peer reset the
// connection, or it timed out.
const tcpClose = 7

// wasReset reports whether a connection is gone altogether. A failed splice does
// not say which of its two sockets failed.
func wasReset(raw syscall.RawConn) bool {
	gone := false
	err := raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		gone = err != nil || info.State == tcpClose
	})
	return gone || err != nil
}

// isDead reports whether a connection had ended before it was accepted.
func isDead(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	return err != nil || wasReset(raw)
}

// sent returns how many bytes the peer of a connection has taken so far, and whether
// more wait for it. A connection that is closed tells nothing.
func sent(c *net.TCPConn) (acked uint64, waiting bool) {
	if c == nil {
		return 0, false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, false
	}
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			acked, waiting = info.Bytes_acked, info.Unacked > 0 || info.Notsent_bytes > 0
		}
	})
	return acked, waiting
}

// reset closes a connection so that its peer sees a reset and not an end.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// isTemporary reports whether accept may succeed later: it lacks resources, or
// the connection in question is gone already.
func isTemporary(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED, syscall.EINTR, syscall.EPROTO} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// receive and send are recvfrom(2) and sendto(2) that never wait, and of which Go's
// scheduler is not told: it would hand the thread's work to another thread if the
// call took longer than a tick of its clock, which on a busy machine it often
// does, and take it back afterwards. b must not be empty.
func receive(fd uintptr, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd,
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), syscall.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func send(fd uintptr, b []byte, flags uintptr) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd,
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL|flags, 0, 0)
	return int(n), errno
}
