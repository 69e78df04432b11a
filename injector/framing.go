package injector

// framing is what the fields of a message say about where its body ends. It is
// filled field by field, the same way for requests and responses.
type framing struct {
	length  int64 // Content-Length, or -1
	coded   bool  // there is a Transfer-Encoding
	chunked bool  // and it is exactly chunked
	other   bool  // and it names another coding, with chunked last
}

func (f *framing) reset() { *f = framing{length: -1} }

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

func (f *framing) addCoding(value []byte) error {
	if f.coded {
		return errCoding
	}
	f.coded = true
	if isName(value, "chunked") {
		f.chunked = true
		return nil
	}
	chunked := 0
	last := false
	for rest := value; len(rest) > 0; {
		var coding []byte
		coding, rest = nextElement(rest)
		last = isName(coding, "chunked")
		if last {
			chunked++
		}
	}
	f.other = last && chunked == 1
	return nil
}

// check refuses what two readers could understand in two ways.
func (f *framing) check(minor byte) error {
	switch {
	case !f.coded:
		return nil
	case minor == 0:
		return errCodingVersion
	case f.length >= 0:
		return errLengthAndCoding
	}
	return nil
}
