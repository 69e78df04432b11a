package injector

import "sync"

// Sizes of buffers. A head must fit into a large one.
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
	if len(b.data) == smallBuffer {
		smallBuffers.Put(b)
		return
	}
	largeBuffers.Put(b)
}

// grown returns a large buffer with the same bytes, in place of b.
func (b *buffer) grown() *buffer {
	l := largeBuffers.Get().(*buffer)
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
