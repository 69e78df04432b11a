package injector

// response is the parsed head of a response. Like head it is fed a growing
// buffer and keeps no byte of it.
type response struct {
	next   int
	fields int
	done   bool

	status int
	minor  byte
	framing
}

func (r *response) reset() {
	*r = response{}
	r.framing.reset()
}

func (r *response) size() int { return r.next }

// parse reads as many lines as b holds and returns true when the head is complete.
func (r *response) parse(b []byte) (bool, error) {
	for !r.done {
		end, next, err := nextLine(b, r.next)
		switch {
		case err != nil:
			return false, err
		case next > maxHead, next == 0 && len(b) >= maxHead:
			return false, errHeadSize
		case next == 0:
			return false, nil
		case r.next == 0:
			err = r.statusLine(b[:end])
		case end == r.next:
			r.done = true
			err = r.framing.check(r.minor)
		default:
			err = r.field(b, r.next, end)
		}
		if err != nil {
			return false, err
		}
		r.next = next
	}
	return true, nil
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

func (r *response) field(b []byte, from, to int) error {
	if r.fields++; r.fields > maxFields {
		return errFieldCount
	}
	name, value, err := splitField(b, from, to)
	if err != nil {
		return err
	}
	switch n := name.of(b); {
	case isName(n, "content-length"):
		return r.addLength(value.of(b))
	case isName(n, "transfer-encoding"):
		return r.addCoding(value.of(b))
	}
	return nil
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

// frame says how the response to this request ends, RFC 9112 §6.3.
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
	case ex.headOnly || s == 204 || s == 304:
		return noBody, nil
	case r.chunked, r.other:
		return chunkedBody, nil
	case r.coded:
		return closeBody, nil
	case r.length == 0:
		return noBody, nil
	case r.length > 0:
		return lengthBody, nil
	}
	return closeBody, nil
}
