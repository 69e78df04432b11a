package injector

import (
	"bytes"
	"cmp"
)

// head is the parsed head of a request. Everything in it is an offset into the
// buffer that was parsed, so that nothing is copied and the bytes stay as the
// client sent them. It can be fed a growing buffer and goes on where it stopped.
type head struct {
	next   int // where the next line starts; all before it is parsed
	fields int
	done   bool

	method, target, path span
	minor                byte // of the version: 0 or 1
	form                 form

	framing
	host          span
	hosts         int
	authorization [maxAuthorization]span // whole lines with their CR LF
	credentials   int                    // how many of them are used
	traceparent   span
	tracestate    span
	close         bool // Connection: close
	keepAlive     bool // Connection: keep-alive
	upgrade       bool // asks to switch protocols

	authority authority // from Host and target, which agree
	seen      authorities

	maxBytes, maxFields int // what it may hold; 0 is the default

	lenient bool     // what is doubtful and frames and routes nothing is passed over
	doubt   *refusal // the first of it, or nil
}

// form is the form of a request target, RFC 9112 §3.2.
type form uint8

const (
	originForm form = iota
	absoluteForm
	foreignForm // absolute, with a scheme other than http
	authorityForm
	asteriskForm
)

func (h *head) reset() {
	*h = head{seen: h.seen, maxBytes: cmp.Or(h.maxBytes, maxHead), maxFields: cmp.Or(h.maxFields, maxFields)}
	h.framing.reset()
}

// limitHead has the limits of now hold for a head that begins.
func (c *conn) limitHead() {
	l := c.srv.limits()
	c.head.maxBytes, c.head.maxFields = l.HeadBytes, l.HeadFields
	c.requests.largest = max(l.HeadBytes, smallBuffer)
}

// size is the number of bytes of a head that is done.
func (h *head) size() int { return h.next }

// parse reads as many lines as b holds. It returns true when the head is
// complete. b must start with the same bytes on every call.
func (h *head) parse(b []byte) (bool, error) {
	for !h.done {
		end, next, err := h.line(b)
		switch {
		case err != nil:
			return false, err
		case next > h.maxBytes, next == 0 && len(b) >= h.maxBytes:
			return false, errHeadSize
		case next == 0:
			return false, nil
		case h.next == 0:
			err = h.requestLine(b[:end])
		case end == h.next:
			h.done = true
			err = h.finish(b)
		default:
			err = h.field(b, h.next, end, next)
		}
		if err != nil {
			return false, err
		}
		h.next = next
	}
	return true, nil
}

func (h *head) requestLine(line []byte) error {
	m := bytes.IndexByte(line, ' ')
	if m <= 0 || !all(line[:m], tokenByte) {
		return errRequestLine
	}
	t := m + 1
	for t < len(line) && classes[line[t]]&targetByte != 0 {
		t++
	}
	if t == m+1 || t == len(line) || line[t] != ' ' {
		return errRequestLine
	}
	h.method = span{0, uint32(m)}
	h.target = span{uint32(m + 1), uint32(t)}
	return h.version(line[t+1:])
}

func (h *head) version(v []byte) error {
	const shape = "HTTP/d.d"
	if len(v) != len(shape) || string(v[:5]) != "HTTP/" || v[6] != '.' || !digit(v[5]) || !digit(v[7]) {
		return errRequestLine
	}
	if v[5] != '1' || v[7] > '1' {
		return errVersion
	}
	h.minor = v[7] - '0'
	return nil
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func (h *head) field(b []byte, from, to, next int) error {
	if h.fields++; h.fields > h.maxFields {
		if err := h.pass(errFieldCount); err != nil {
			return err
		}
	}
	name, value, err := splitField(b, from, to)
	if err != nil {
		return h.passField(err, b[from:to])
	}
	switch n := name.of(b); len(n) {
	case len("host"):
		if isName(n, "host") {
			return h.addHost(value)
		}
	case len("upgrade"):
		if isName(n, "upgrade") {
			h.upgrade = true
		}
	case len("connection"): // and tracestate
		if isName(n, "connection") {
			return h.addConnection(value.of(b))
		}
		if isName(n, "tracestate") && h.tracestate.empty() {
			h.tracestate = value
		}
	case len("traceparent"):
		if isName(n, "traceparent") {
			h.traceparent = value
		}
	case len("authorization"):
		if isName(n, "authorization") {
			return h.addCredentials(span{uint32(from), uint32(next)})
		}
	case len("content-length"):
		if isName(n, "content-length") {
			return h.passLength(h.addLength(value.of(b)), value.of(b))
		}
	case len("transfer-encoding"):
		if isName(n, "transfer-encoding") {
			h.addCoding(value.of(b))
		}
	}
	return nil
}

func (h *head) addHost(value span) error {
	if h.hosts++; h.hosts > 1 {
		return errTwoHosts
	}
	h.host = value
	return nil
}

func (h *head) addCredentials(line span) error {
	if h.credentials == len(h.authorization) {
		return errCredentials
	}
	h.authorization[h.credentials] = line
	h.credentials++
	return nil
}

// addConnection reads connection options. A client that nominates a field for
// removal at the next hop could make that hop drop our field, or the one that
// frames or routes the message: those nominations are refused.
func (h *head) addConnection(value []byte) error {
	for len(value) > 0 {
		var option []byte
		option, value = nextElement(value)
		switch {
		case isName(option, "close"):
			h.close = true
		case isName(option, "keep-alive"):
			h.keepAlive = true
		case isName(option, "authorization"), isName(option, "host"),
			isName(option, "content-length"), isName(option, "transfer-encoding"):
			return errNomination
		}
	}
	return nil
}

// finish checks what only the whole head can say.
func (h *head) finish(b []byte) error {
	if h.hosts == 0 && h.minor == 1 {
		return errNoHost
	}
	if err := h.framing.check(h.minor); err != nil {
		return err
	}
	return h.route(b)
}

// last reports whether the client said that this is its last request.
func (h *head) last() bool { return h.close || h.minor == 0 && !h.keepAlive }

func (h *head) is(b []byte, method string) bool { return string(h.method.of(b)) == method }
