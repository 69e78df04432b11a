package injector

import "sync"

// Sizes of buffers. A head of default size must fit into a large one.
const (
	smallBuffer = 16 << 10
	largeBuffer = maxHead
)

// buffer holds bytes that were read and not yet passed on: data[start:end].
type buffer struct {
	data       []byte
	start, end int
}

// Buffers are pooled by size; an idle connection holds none.
var (
	smallBuffers = sync.Pool{New: func() any { return &buffer{data: make([]byte, smallBuffer)} }}
	largeBuffers = sync.Pool{New: func() any { return &buffer{data: make([]byte, largeBuffer)} }}
)

func (b *buffer) release() {
	b.start, b.end = 0, 0
	switch len(b.data) {
	case smallBuffer:
		smallBuffers.Put(b)
	case largeBuffer:
		largeBuffers.Put(b)
	} // one of another size, by configuration, is the garbage collector's
}

// grown returns a buffer of that size, above b's, with the same bytes, in place of b.
func (b *buffer) grown(size int) *buffer {
	var l *buffer
	if size == largeBuffer {
		l = largeBuffers.Get().(*buffer)
	} else {
		l = &buffer{data: make([]byte, size)}
	}
	l.end = copy(l.data, b.data[b.start:b.end])
	b.release()
	return l
}

// scratch is where a head with its token is put together, so that it leaves in
// one write with what follows it.
type scratch struct{ data []byte }

var scratches = sync.Pool{New: func() any { return &scratch{data: make([]byte, 0, smallBuffer)} }}

func (s *scratch) release() {
	if cap(s.data) <= 2*largeBuffer {
		clear(s.data) // a token was in it
		s.data = s.data[:0]
		scratches.Put(s)
	}
}
