package injector

import (
	"bytes"
	"io"
)

// sendBody passes the rest of the body of request n on: left bytes, or whatever is
// left of a chunked one.
func (c *conn) sendBody(n uint32, left int64) error {
	if c.head.chunked {
		return c.sendChunks(n)
	}
	out := &c.requests
	for left != 0 {
		c.rest, c.restLeft = restBody, left
		if len(out.pending()) == 0 {
			if err := c.fillBody(); err != nil {
				return err
			}
			continue
		}
		k := int(min(int64(len(out.pending())), left))
		full := k == len(out.buf.data)
		if err := c.sendPiece(n, k, int64(k) == left); err != nil {
			return err
		}
		left -= int64(k)
		if !full || left < largeBuffer {
			continue
		}
		moved, err := out.splice(left - 1) // the last byte is told apart
		if left -= moved; err != nil {
			c.restLeft = left
			return err
		}
	}
	return nil
}

// startChunks begins a chunked body. Its trailers are held, and there may be more of them
// than a head's limit.
func (c *conn) startChunks() {
	c.chunks.start(true)
	c.requests.largest = max(c.requests.largest, largeBuffer)
}

// sendChunks is sendBody for a chunked body. What breaks the rules, and what was read
// together with it, stays pending.
func (c *conn) sendChunks(n uint32) error {
	out, b := &c.requests, &c.chunks
	c.rest = restChunks
	for {
		if len(out.pending()) == b.held {
			err := c.fillBody()
			if err == io.EOF && b.held > 0 { // some clients forget the last line, and some servers do not mind
				if failed := out.flush(b.held); failed != nil {
					return failed
				}
			}
			if err != nil {
				return err
			}
			continue
		}
		held := b.held
		k, done, err := b.feed(out.pending()[held:])
		if err != nil {
			return err
		}
		piece := held + k - b.held
		if err := c.sendPiece(n, piece, done); err != nil {
			out.consume(piece)
			return err
		} else if done {
			return nil
		}
	}
}

// sendPiece writes the next k bytes of the body of request n. That the last ones are
// sent is noted before they are: a server may answer them at once.
func (c *conn) sendPiece(n uint32, k int, last bool) error {
	p := &c.pipeline
	p.begun.Store(n)
	if last {
		p.whole.Store(n)
	}
	return c.requests.flush(k)
}

// fillBody waits for more of a body, unless the server does not want it or the client
// sends nothing any more. It may return without more.
func (c *conn) fillBody() error {
	if c.halted.Load() {
		return errHalted
	}
	switch err := c.requests.fill(); {
	case c.halted.Load(): // also if bytes came between being woken and looking
		return errHalted
	case err != errKicked:
		return err
	case c.expired.Load():
		return errIdle
	}
	return nil
}

// expectsContinue reports whether the client waits for 100 (Continue) before it sends
// the body, RFC 9110 §10.1.1.
func expectsContinue(head []byte) bool {
	for len(head) > 0 {
		line, rest, _ := bytes.Cut(head, []byte{'\n'})
		head = rest
		name, value, _ := bytes.Cut(line, []byte{':'})
		if !isName(name, "expect") {
			continue
		}
		for len(value) > 0 {
			var expectation []byte
			expectation, value = nextElement(value)
			if isName(bytes.TrimRight(expectation, "\r \t"), "100-continue") {
				return true
			}
		}
	}
	return false
}
