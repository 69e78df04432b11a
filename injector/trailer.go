package injector

// trailerByte follows the trailer section of a request.
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
	if c.nameLen > len(c.name) {
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

// looseTrailerByte follows the trailer section of a response: lines, up to an empty
// one. Of bare LF some clients make an end, and some wait for CR LF CR LF.
func (c *chunked) looseTrailerByte(b byte) error {
	switch {
	case c.state == trailerStart && b == '\r':
		c.state = chunkedLF
	case c.state == trailerStart && b == '\n':
		c.doubt = errBareLF
		c.state = chunkedDone
	case c.state == trailerLoose && b == '\n':
		c.state = trailerStart
		if c.name[0] != '\r' {
			c.doubt = errBareLF
		}
	default:
		c.state = trailerLoose
		c.name[0] = b // the byte before
	}
	return nil
}
