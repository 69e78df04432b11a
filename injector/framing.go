package injector

// framing is what the fields of a message say about where its body ends. It is
// filled field by field.
type framing struct {
	length  int64 // Content-Length, or -1
	coded   bool  // there is a Transfer-Encoding
	chunked bool  // and it is exactly chunked
	other   bool  // and it names another coding, with chunked last

	// Of the codings of all lines, which are one list (RFC 9110 §5.3).
	named, foreign int  // how many are chunked, and how many are not
	ends           bool // the last one is chunked
}

func (f *framing) reset() { *f = framing{length: -1} }

// addLength reads a Content-Length of a request.
func (f *framing) addLength(value []byte) error {
	if f.length >= 0 {
		return errTwoLengths
	}
	n, ok := parseLength(value)
	if !ok {
		return errLength
	}
	f.length = n
	return nil
}

// addCoding reads one line of Transfer-Encoding.
func (f *framing) addCoding(value []byte) {
	f.chunked = !f.coded && isName(value, "chunked")
	f.coded = true
	for more := true; more; {
		var coding []byte
		coding, value = nextElement(value)
		more = len(value) > 0
		switch {
		case isName(coding, "chunked"):
			f.named++
			f.ends = true
		case len(coding) > 0:
			f.foreign++
			f.ends = false
		}
	}
	f.other = f.ends && f.named == 1 && f.foreign > 0
}

// check refuses a request that two readers could understand in two ways.
func (f *framing) check(minor byte) error {
	switch {
	case !f.coded:
		return nil
	case minor == 0:
		return errCodingVersion
	case f.length >= 0:
		return errLengthAndCoding
	case f.other:
		return errCodingUnknown
	case !f.chunked:
		return errCoding
	}
	return nil
}
