package injector

// chunked follows a chunked body (RFC 9112 §7.1) byte for byte without keeping
// or changing any of it: size [";" extensions] CR LF data CR LF … "0" CR LF
// trailers CR LF. A request's is held to the grammar: white space only where the
// grammar has it and calls it bad, nothing but ASCII in extensions. Of a response's
// it takes whatever all clients that take it end in the same place.
type chunked struct {
	state    chunkState
	strict   bool   // a request
	size     uint64 // of the chunk, then what is left of its data
	digits   int    // of the size, but for the zeros before it in a response
	line     int    // bytes of the line so far
	extra    int    // bytes of all extensions
	trailers int    // bytes of all trailers
	name     [longestForbidden]byte
	nameLen  int

	// held is how many of the last bytes a server must not see yet: of a request
	// the line of a size until it is complete, and from the last chunk on everything,
	// so that a forbidden trailer leaves no message that is whole.
	held  int
	doubt *refusal // why clients may differ about where a response's ends
}

type chunkState uint8

const (
	chunkSize      chunkState = iota
	chunkPadding              // after a size
	extensionStart            // after ";"
	extensionName
	extensionNamePadding
	extensionValue // after "="
	extensionToken
	extensionQuoted
	extensionEscape  // after "\" in a quoted value
	extensionEnd     // after a quoted value
	extensionPadding // after a value
	extensionLoose   // of a response: whatever it is
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	trailerStart
	trailerName
	trailerValue
	trailerLF
	trailerLoose // of a response: whatever it is
	chunkedLF
	chunkedDone
)

const (
	maxSizeDigits    = 15 // so that a size never overflows
	longestForbidden = len("proxy-authorization")
)

// start makes it ready for a body, of a request or of a response.
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
		afterData := c.state == chunkDataCR || c.state == chunkDataLF
		if err := c.step(b[n]); err != nil {
			return n, false, err
		}
		n++
		c.held++
		if !c.strict || afterData || c.state == chunkData || c.state == chunkedDone {
			c.held = 0
		}
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
	case chunkPadding:
		return c.sizeEnd(b)
	case extensionLoose:
		return c.looseExtensionByte(b)
	case chunkSizeLF:
		return c.endLine(b)
	case chunkDataCR:
		return c.expect(b, '\r', chunkDataLF, errChunkEnd)
	case chunkDataLF:
		c.line, c.digits = 0, 0
		return c.expect(b, '\n', chunkSize, errChunkEnd)
	case trailerStart, trailerName, trailerValue, trailerLF:
		if c.strict {
			return c.trailerByte(b)
		}
		return c.looseTrailerByte(b)
	case trailerLoose:
		return c.looseTrailerByte(b)
	case chunkedLF:
		return c.expect(b, '\n', chunkedDone, errTrailer)
	}
	return c.extensionByte(b)
}

func (c *chunked) expect(b, want byte, next chunkState, err error) error {
	if b != want {
		return err
	}
	c.state = next
	return nil
}

func (c *chunked) sizeByte(b byte) error {
	d, ok := hexDigit(b)
	if !ok {
		if c.line == 0 {
			return errChunkSize
		}
		return c.sizeEnd(b)
	}
	if c.line++; c.line > maxChunkLine {
		return errChunkLine
	}
	if c.strict || c.digits > 0 || d > 0 {
		c.digits++
	}
	if c.digits > maxSizeDigits {
		return errChunkSize
	}
	c.size = c.size<<4 | uint64(d)
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

// sizeEnd takes what follows a size: of a request nothing or extensions, before
// which bad white space is to be parsed (RFC 9112 §7.1.1); of a response padding too,
// and a line that ends in LF alone.
func (c *chunked) sizeEnd(b byte) error {
	switch {
	case isBlank(b):
		if c.line++; c.line > maxChunkLine {
			return errChunkLine
		}
		c.state = chunkPadding
	case b == ';' && c.strict:
		c.state = extensionStart
	case b == ';':
		c.state = extensionLoose
	case b == '\r' && (c.state == chunkSize || !c.strict):
		c.state = chunkSizeLF
	case b == '\n' && !c.strict:
		return c.endLine(b)
	default:
		return errChunkSize
	}
	return nil
}

func isBlank(b byte) bool { return b == ' ' || b == '\t' }

// endLine ends the line of a size.
func (c *chunked) endLine(b byte) error {
	if b != '\n' {
		return errChunkLine
	}
	c.state = chunkData
	if c.size == 0 {
		c.state = trailerStart
	}
	return nil
}

// extensionByte follows *( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] ),
// RFC 9112 §7.1.1.
func (c *chunked) extensionByte(b byte) error {
	c.line++
	c.extra++
	if c.line > maxChunkLine || c.extra > maxChunkExtra {
		return errChunkLine
	}
	switch s := c.state; {
	case s == extensionQuoted || s == extensionEscape:
		return c.quotedByte(b)
	case isBlank(b):
		return c.extensionBlank()
	case classes[b]&tokenByte != 0:
		return c.extensionWord()
	case b == '"' && s == extensionValue:
		c.state = extensionQuoted
	case s == extensionStart || s == extensionValue:
		return errChunkLine
	case b == '=' && (s == extensionName || s == extensionNamePadding):
		c.state = extensionValue
	case b == ';':
		c.state = extensionStart
	case b == '\r' && s != extensionNamePadding && s != extensionPadding:
		c.state = chunkSizeLF
	default:
		return errChunkLine
	}
	return nil
}

func (c *chunked) quotedByte(b byte) error {
	switch {
	case c.state == extensionQuoted && b == '\\':
		c.state = extensionEscape
	case c.state == extensionQuoted && b == '"':
		c.state = extensionEnd
	case classes[b]&valueByte == 0 || b >= 0x80:
		return errChunkLine
	default:
		c.state = extensionQuoted
	}
	return nil
}

// extensionBlank takes bad white space, which is nothing but beside ";" and "=".
func (c *chunked) extensionBlank() error {
	switch c.state {
	case extensionName:
		c.state = extensionNamePadding
	case extensionToken, extensionEnd:
		c.state = extensionPadding
	}
	return nil
}

// extensionWord takes a byte of a name or of a value that is not quoted.
func (c *chunked) extensionWord() error {
	switch c.state {
	case extensionStart, extensionName:
		c.state = extensionName
	case extensionValue, extensionToken:
		c.state = extensionToken
	default:
		return errChunkLine
	}
	return nil
}

// looseExtensionByte takes an extension of a response, which no client looks at.
// Some end it at a bare LF and some do not.
func (c *chunked) looseExtensionByte(b byte) error {
	switch {
	case b == '\r':
		c.state = chunkSizeLF
	case classes[b]&valueByte == 0:
		return errChunkLine
	}
	return nil
}
