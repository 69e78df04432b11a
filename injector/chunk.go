package injector

// chunked follows a chunked body (RFC 9112 §7.1) byte for byte without keeping
// or changing any of it: size [";" extensions] CR LF data CR LF … "0" CR LF
// trailers CR LF. It is stricter than the grammar where servers differ: no white
// space around the size and its extensions, nothing but ASCII in them.
type chunked struct {
	state    chunkState
	strict   bool   // a request: some trailer fields are refused
	size     uint64 // of the chunk, then what is left of its data
	line     int    // bytes of the line so far
	extra    int    // bytes of all extensions
	trailers int    // bytes of all trailers
	name     [longestForbidden]byte
	nameLen  int
}

type chunkState uint8

const (
	chunkSize      chunkState = iota
	extensionStart            // after ";"
	extensionName
	extensionValue // after "="
	extensionToken
	extensionQuoted
	extensionEscape // after "\" in a quoted value
	extensionEnd    // after a quoted value
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	trailerStart
	trailerName
	trailerValue
	trailerLF
	chunkedLF
	chunkedDone
)

const (
	maxSizeDigits    = 15 // so that a size never overflows
	longestForbidden = len("proxy-authorization")
)

// start makes it ready for a body; the trailers of a request are held to more.
func (c *chunked) start(request bool) { *c = chunked{strict: request} }

// feed takes the next bytes and returns how many of them belong to the body and
// whether the body ended with them.
func (c *chunked) feed(b []byte) (n int, done bool, err error) {
	for n < len(b) {
		if c.state == chunkData {
			k := min(uint64(len(b)-n), c.size)
			n += int(k)
			if c.size -= k; c.size == 0 {
				c.state = chunkDataCR
			}
			continue
		}
		if err := c.step(b[n]); err != nil {
			return n, false, err
		}
		n++
		if c.state == chunkedDone {
			return n, true, nil
		}
	}
	return n, false, nil
}

func (c *chunked) step(b byte) error {
	switch c.state {
	case chunkSize:
		return c.sizeByte(b)
	case extensionStart, extensionName, extensionValue, extensionToken, extensionQuoted, extensionEscape, extensionEnd:
		return c.extensionByte(b)
	case chunkSizeLF:
		return c.sizeEnd(b)
	case chunkDataCR:
		return c.expect(b, '\r', chunkDataLF, errChunkEnd)
	case chunkDataLF:
		c.line = 0
		return c.expect(b, '\n', chunkSize, errChunkEnd)
	case chunkedLF:
		return c.expect(b, '\n', chunkedDone, errTrailer)
	}
	return c.trailerByte(b)
}

func (c *chunked) expect(b, want byte, next chunkState, err error) error {
	if b != want {
		return err
	}
	c.state = next
	return nil
}

func (c *chunked) sizeByte(b byte) error {
	if d, ok := hexDigit(b); ok {
		if c.line++; c.line > maxSizeDigits {
			return errChunkSize
		}
		c.size = c.size<<4 | uint64(d)
		return nil
	}
	switch {
	case c.line == 0:
		return errChunkSize
	case b == ';':
		c.state = extensionStart
	case b == '\r':
		c.state = chunkSizeLF
	default:
		return errChunkSize
	}
	return nil
}

func hexDigit(b byte) (byte, bool) {
	switch {
	case b >= '0' && b <= '9':
		return b - '0', true
	case b|0x20 >= 'a' && b|0x20 <= 'f':
		return b | 0x20 - 'a' + 10, true
	}
	return 0, false
}

// extensionByte follows *( ";" token [ "=" ( token / quoted-string ) ] ), RFC
// 9112 §7.1.1, without the white space that the grammar calls bad.
func (c *chunked) extensionByte(b byte) error {
	c.line++
	c.extra++
	if c.line > maxChunkLine || c.extra > maxChunkExtra {
		return errChunkLine
	}
	is := classes[b]
	switch s := c.state; {
	case s == extensionQuoted && b == '\\':
		c.state = extensionEscape
	case s == extensionQuoted && b == '"':
		c.state = extensionEnd
	case s == extensionQuoted || s == extensionEscape:
		if is&valueByte == 0 || b >= 0x80 {
			return errChunkLine
		}
		c.state = extensionQuoted
	case is&tokenByte != 0 && s != extensionEnd:
		c.state = extensionName
		if s == extensionValue || s == extensionToken {
			c.state = extensionToken
		}
	case b == '"' && s == extensionValue:
		c.state = extensionQuoted
	case s == extensionStart || s == extensionValue:
		return errChunkLine
	case b == '=' && s == extensionName:
		c.state = extensionValue
	case b == ';':
		c.state = extensionStart
	case b == '\r':
		c.state = chunkSizeLF
	default:
		return errChunkLine
	}
	return nil
}

func (c *chunked) sizeEnd(b byte) error {
	if b != '\n' {
		return errChunkLine
	}
	c.state = chunkData
	if c.size == 0 {
		c.state = trailerStart
	}
	return nil
}

func (c *chunked) trailerByte(b byte) error {
	if c.trailers++; c.trailers > maxTrailers {
		return errTrailer
	}
	switch c.state {
	case trailerStart:
		c.nameLen = 0
		if b == '\r' {
			c.state = chunkedLF
			return nil
		}
		c.state = trailerName
		return c.nameByte(b)
	case trailerName:
		if b == ':' && c.nameLen > 0 {
			c.state = trailerValue
			return c.checkName()
		}
		return c.nameByte(b)
	case trailerValue:
		if b == '\r' {
			c.state = trailerLF
		} else if classes[b]&valueByte == 0 {
			return errTrailer
		}
		return nil
	}
	return c.expect(b, '\n', trailerStart, errTrailer) // trailerLF
}

func (c *chunked) nameByte(b byte) error {
	if classes[b]&tokenByte == 0 {
		return errTrailer
	}
	if c.nameLen < len(c.name) {
		c.name[c.nameLen] = b
	}
	c.nameLen++
	return nil
}

// checkName refuses trailer fields that a server which merges trailers into the
// head would act on.
func (c *chunked) checkName() error {
	if !c.strict || c.nameLen > len(c.name) {
		return nil
	}
	name := c.name[:c.nameLen]
	for _, forbidden := range [...]string{
		"authorization", "proxy-authorization", "cookie", "host", "content-length",
		"transfer-encoding", "connection", "upgrade", "te", "trailer", "expect",
	} {
		if isName(name, forbidden) {
			return errTrailerName
		}
	}
	return nil
}
