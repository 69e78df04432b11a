package injector

import (
	"cmp"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// half is one direction of a connection: what is read from one socket and
// written to the other. It belongs to one goroutine; only watch is shared.
type half struct {
	from, to *net.TCPConn
	source   syscall.RawConn // of from
	sink     syscall.RawConn // of to
	buf      *buffer         // nil while nothing is buffered
	used     bool            // something was read
	largest  int             // how large a buffer may grow; 0 is largeBuffer

	// What the poller calls, and what passes between that and its caller.
	read  func(fd uintptr) bool
	wrote func(fd uintptr) bool
	got   int
	left  []byte  // of what is to be written
	flags uintptr // of sendto(2), while it is written
	err   error

	watch watch
	acked uint64 // of the sweep: what the peer had taken when it last looked
}

// Why moving bytes stopped, beside io.EOF and what the system says.
var (
	errKicked     = errors.New("woken up to look around")
	errBufferFull = errors.New("buffer full")
)

// writeError is an error of the socket that was written to.
type writeError struct{ error }

func (e writeError) Unwrap() error { return e.error }

// readFrom says what the half reads from, before it is used.
func (h *half) readFrom(from *net.TCPConn) (err error) {
	h.from, h.read = from, h.readable
	h.source, err = from.SyscallConn()
	return err
}

// writeTo says what the half writes to, before it does.
func (h *half) writeTo(to *net.TCPConn) (err error) {
	h.to, h.wrote = to, h.writable
	h.sink, err = to.SyscallConn()
	return err
}

// pending returns the bytes that were read and not yet consumed.
func (h *half) pending() []byte {
	if h.buf == nil {
		return nil
	}
	return h.buf.data[h.buf.start:h.buf.end]
}

// consume forgets the first n pending bytes, and the buffer when it is empty.
func (h *half) consume(n int) {
	if h.buf != nil {
		h.buf.start += n
	}
	h.releaseIfEmpty()
}

func (h *half) releaseIfEmpty() {
	if h.buf != nil && h.buf.start == h.buf.end {
		h.buf.release()
		h.buf = nil
	}
}

// fill waits for more bytes and adds them to the pending ones. While it waits
// with nothing pending it holds no buffer: the buffer is taken when the socket
// has something to read.
func (h *half) fill() error {
	if err := h.makeRoom(); err != nil {
		return err
	}
	h.got, h.err = 0, nil
	if err := h.source.Read(h.read); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			_ = h.from.SetReadDeadline(time.Time{})
			return errKicked
		}
		return err
	}
	switch {
	case h.err != nil:
		return h.err
	case h.got == 0:
		return io.EOF
	}
	h.used = true
	h.watch.progress()
	return nil
}

func (h *half) makeRoom() error {
	b := h.buf
	switch {
	case b == nil || b.end < len(b.data):
	case b.start > 0:
		b.end = copy(b.data, b.data[b.start:b.end])
		b.start = 0
	case len(b.data) < cmp.Or(h.largest, largeBuffer):
		h.buf = b.grown(cmp.Or(h.largest, largeBuffer))
	default:
		return errBufferFull
	}
	return nil
}

// readable is called by the runtime's poller: at once, and then whenever the
// socket became readable, until it returns true.
func (h *half) readable(fd uintptr) bool {
	if h.buf == nil {
		h.buf = smallBuffers.Get().(*buffer)
	}
	for {
		n, errno := receive(fd, h.buf.data[h.buf.end:])
		switch errno {
		case 0:
			h.got = n
			h.buf.end += n
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			h.releaseIfEmpty()
			return false
		default:
			h.err = os.NewSyscallError("recvfrom", errno)
		}
		h.releaseIfEmpty()
		return true
	}
}

// write writes all of b.
func (h *half) write(b []byte) error {
	before := h.watch.enter(phaseWriting)
	h.left, h.err = b, nil
	err := h.sink.Write(h.wrote)
	if err == nil {
		err = h.err
	}
	h.left = nil
	h.watch.enter(before)
	if err != nil {
		return writeError{err}
	}
	return nil
}

// writable is called by the runtime's poller: at once, and then whenever the
// socket takes bytes again, until it returns true.
func (h *half) writable(fd uintptr) bool {
	for len(h.left) > 0 {
		n, errno := send(fd, h.left, h.flags)
		switch errno {
		case 0:
			h.left = h.left[n:]
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			h.err = os.NewSyscallError("sendto", errno)
			return true
		}
	}
	return true
}

// flush writes the first n pending bytes.
func (h *half) flush(n int) error {
	if n == 0 {
		return nil
	}
	if err := h.write(h.pending()[:n]); err != nil {
		return err
	}
	h.consume(n)
	return nil
}

// whole stands for all the bytes that will come.
const whole = int64(-1)

// move passes n bytes on, or all until the end for n == whole; then the end is
// no error. Little goes through a buffer; what keeps a buffer full is spliced.
func (h *half) move(n int64) error {
	for n != 0 {
		if len(h.pending()) == 0 {
			switch err := h.fill(); {
			case err == errKicked:
				continue
			case err == io.EOF && n == whole:
				return nil
			case err != nil:
				return err
			}
		}
		k := len(h.pending())
		if n != whole {
			k = int(min(int64(k), n))
		}
		full := k == len(h.buf.data)
		if err := h.flush(k); err != nil {
			return err
		}
		n = less(n, int64(k))
		if !full || n != whole && n < largeBuffer {
			continue
		}
		moved, err := h.splice(n)
		n = less(n, moved)
		if err != nil {
			return err
		}
	}
	return nil
}

func less(n, by int64) int64 {
	if n == whole {
		return whole
	}
	return n - by
}

// splice lets the kernel move at most bytesPerSplice of n bytes. An end or an
// interruption is left for the next fill to find.
func (h *half) splice(n int64) (int64, error) {
	piece := io.LimitedReader{R: h.from, N: bytesPerSplice}
	if n != whole {
		piece.N = min(piece.N, n)
	}
	before := h.watch.enter(phaseSplicing)
	moved, err := h.to.ReadFrom(&piece)
	h.watch.enter(before)
	switch {
	case err == nil:
		return moved, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		_ = h.from.SetReadDeadline(time.Time{})
		return moved, nil
	case wasReset(h.source):
		return moved, err
	}
	return moved, writeError{err}
}
