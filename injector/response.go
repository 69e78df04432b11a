package injector

import "bytes"

// response is the parsed head of a response. Like head it is fed a growing
// buffer and keeps no byte of it.
//
// It is not held to the grammar but to what clients make of it: what those that
// take it understand alike is framed; where they may differ there is a doubt, and
// the connection ends after the response; what has no end that can be told is
// refused, and relayed to the end of its connection.
type response struct {
	next   int // where the next line starts, in what is pending
	passed int // bytes of the head that were passed on before it was complete
	begun  bool
	done   bool
	last   fieldKind // of the line before
	within bool      // in the middle of a line that is too long for the buffer

	status int
	minor  byte
	doubt  *refusal
	framing
}

// fieldKind says what a field line is about.
type fieldKind uint8

const (
	noField    fieldKind = iota
	otherField           // says nothing about where the body ends
	framingField
)

func (r *response) reset() {
	*r = response{}
	r.framing.reset()
}

func (r *response) size() int { return r.next }

// parse reads as many lines as b holds and returns true when the head is complete.
func (r *response) parse(b []byte) (bool, error) {
	for !r.done {
		end, next := looseLine(b, r.next)
		if next == 0 {
			if r.passed+len(b) >= maxResponseHead {
				return false, errResponseHead
			}
			return false, nil
		}
		if err := r.line(b, end); err != nil {
			return false, err
		}
		r.next = next
	}
	return true, nil
}

// looseLine finds the line that starts at from, as clients do: it ends in LF, and
// a CR before that is not part of it.
func looseLine(b []byte, from int) (end, next int) {
	i := bytes.IndexByte(b[from:], '\n')
	if i < 0 {
		return 0, 0
	}
	end = from + i
	if i > 0 && b[end-1] == '\r' {
		end--
	}
	return end, from + i + 1
}

// line reads the line from r.next to end.
func (r *response) line(b []byte, end int) error {
	switch {
	case r.within:
		r.within = false
		if !all(b[r.next:end], valueByte) {
			return errFieldValue
		}
		return nil
	case !r.begun:
		r.begun = true
		return r.statusLine(b[r.next:end])
	case end == r.next:
		r.done = true
		return nil
	}
	return r.field(b[r.next:end])
}

// pass forgets the pending bytes that its caller is about to pass on because no more
// fit, and returns how many that are: all complete lines, or what there is of one.
func (r *response) pass(b []byte) (n int, err error) {
	if n = r.next; n == 0 {
		n = len(bytes.TrimSuffix(b, []byte{'\r'})) // which may belong to the end of the line
		if err := r.part(b[:n]); err != nil {
			return 0, err
		}
	}
	r.next = 0
	r.passed += n
	return n, nil
}

// part reads a part of a line that is longer than the buffer.
func (r *response) part(line []byte) error {
	switch {
	case r.within && !all(line, valueByte):
		return errFieldValue
	case r.within:
		return nil
	case !r.begun:
		return errResponseHead
	}
	if err := r.field(line); err != nil {
		return err
	}
	if r.last == framingField {
		return errResponseHead
	}
	r.within = true
	return nil
}

func (r *response) statusLine(line []byte) error {
	const shape = "HTTP/1.d ddd"
	if len(line) < len(shape) || string(line[:7]) != "HTTP/1." || !digit(line[7]) || line[8] != ' ' {
		return errStatusLine
	}
	for _, c := range line[9:12] {
		if !digit(c) {
			return errStatusLine
		}
		r.status = r.status*10 + int(c-'0')
	}
	reason := line[len(shape):]
	if r.status < 100 || len(reason) > 0 && reason[0] != ' ' || !all(reason, valueByte) {
		return errStatusLine
	}
	r.minor = line[7] - '0'
	return nil
}

func (r *response) field(line []byte) error {
	if isBlank(line[0]) { // it continues the line before
		if r.last != otherField || !all(line, valueByte) {
			return errFold
		}
		return nil
	}
	name, value, found := bytes.Cut(line, []byte{':'})
	if trimmed := bytes.TrimRight(name, " \t"); len(trimmed) < len(name) {
		r.suspect(errFieldName)
		name = trimmed
	}
	switch {
	case !found || len(name) == 0 || !all(name, tokenByte):
		return errFieldName
	case !all(value, valueByte):
		return errFieldValue
	}
	r.last = framingField
	switch trimmed := bytes.Trim(value, " \t"); {
	case isName(name, "content-length"):
		return r.addLengths(trimmed)
	case isName(name, "transfer-encoding"):
		if len(trimmed) > 0 && isBlank(value[len(value)-1]) { // some clients take it for a part of the name
			r.suspect(errCoding)
		}
		r.addCoding(trimmed)
	default:
		r.last = otherField
	}
	return nil
}

// addLengths reads a Content-Length, which may be repeated, as a field and as a list.
// Not every client takes a list for one number.
func (r *response) addLengths(value []byte) error {
	if bytes.IndexByte(value, ',') >= 0 {
		r.suspect(errTwoLengths)
	}
	for more := true; more; {
		var element []byte
		element, value = nextElement(value)
		more = len(value) > 0
		n, ok := parseLength(element)
		switch {
		case !ok:
			return errLength
		case r.length >= 0 && n != r.length:
			return errTwoLengths
		}
		r.length = n
	}
	return nil
}

// suspect notes that clients may differ about where the body ends.
func (r *response) suspect(why *refusal) {
	if r.doubt == nil {
		r.doubt = why
	}
}

// body is how the body of a response ends.
type body uint8

const (
	noBody body = iota
	lengthBody
	chunkedBody
	closeBody    // with the connection
	interimHead  // no body, and another head follows
	switchedHead // no body, and no HTTP follows
)

// frame says how the response to this request ends, RFC 9112 §6.3. Afterwards the
// doubt is about that alone.
func (r *response) frame(ex *exchange) (body, error) {
	switch s := r.status; {
	case s == 101:
		if !ex.upgrade {
			return noBody, errSwitch
		}
		return switchedHead, nil
	case s < 200:
		return interimHead, nil
	case ex.connect && s < 300:
		return switchedHead, nil
	case ex.headOnly:
		r.doubt = nil
		return noBody, nil
	case s == 204 || s == 304:
		r.doubt = nil
		if r.coded { // some clients read chunks all the same
			r.doubt = errCoding
		}
		return noBody, nil
	case r.coded:
		return r.frameCoded(), nil
	case r.length == 0:
		return noBody, nil
	case r.length > 0:
		return lengthBody, nil
	}
	return closeBody, nil
}

// frameCoded says how a body with a Transfer-Encoding ends. All clients agree only
// where that is chunked and nothing else, in HTTP/1.1, and no length contradicts it.
func (r *response) frameCoded() body {
	switch {
	case !r.chunked && (!r.ends || r.named != 1):
		return closeBody
	case r.length >= 0:
		r.suspect(errLengthAndCoding)
	case r.minor == 0:
		r.suspect(errCodingVersion)
	case !r.chunked:
		r.suspect(errCodingUnknown)
	}
	return chunkedBody
}
