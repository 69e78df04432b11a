package injector

import "bytes"

// span is a piece of a buffer, by offsets, so that it stays right when the
// buffer is moved or grown.
type span struct{ from, to uint32 }

func (s span) of(b []byte) []byte { return b[s.from:s.to] }
func (s span) empty() bool        { return s.from == s.to }

// Classes of bytes, RFC 9110 §5.6.2 and §5.5.
const (
	tokenByte  = 1 << iota // tchar
	valueByte              // VCHAR, SP, HTAB, obs-text
	hostByte               // of a reg-name or IPv4 address (RFC 3986 §3.2.2)
	targetByte             // VCHAR and obs-text
)

var classes = classify()

func classify() (c [256]uint8) {
	for i := range c {
		b := byte(i)
		alnum := b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
		if alnum || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), b) >= 0 {
			c[i] |= tokenByte
		}
		if alnum || bytes.IndexByte([]byte("-._~!$&'()*+,;=%"), b) >= 0 {
			c[i] |= hostByte
		}
		if b > ' ' && b != 0x7f {
			c[i] |= targetByte
		}
		if b >= ' ' && b != 0x7f || b == '\t' {
			c[i] |= valueByte
		}
	}
	return c
}

// all reports whether every byte of b is of the class.
func all(b []byte, class uint8) bool {
	for _, c := range b {
		if classes[c]&class == 0 {
			return false
		}
	}
	return true
}

// isASCII reports whether no byte is above ASCII.
func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// nextLine finds the line that starts at from: its end without CR LF, and where
// the next one starts, which is 0 while the line is not complete.
func nextLine(b []byte, from int) (end, next int, err error) {
	i := bytes.IndexByte(b[from:], '\n')
	if i < 0 {
		return 0, 0, nil
	}
	if i == 0 || b[from+i-1] != '\r' {
		return 0, 0, errBareLF
	}
	return from + i - 1, from + i + 1, nil
}

// splitField takes the field line b[from:to] apart. The value comes without the
// white space around it.
func splitField(b []byte, from, to int) (name, value span, err error) {
	i := from
	for i < to && classes[b[i]]&tokenByte != 0 {
		i++
	}
	if i == from && (b[i] == ' ' || b[i] == '\t') {
		return name, value, errFold
	}
	if i == from || i == to || b[i] != ':' {
		return name, value, errFieldName
	}
	name = span{uint32(from), uint32(i)}
	if !all(b[i+1:to], valueByte) {
		return name, value, errFieldValue
	}
	v, e := i+1, to
	for v < e && (b[v] == ' ' || b[v] == '\t') {
		v++
	}
	for e > v && (b[e-1] == ' ' || b[e-1] == '\t') {
		e--
	}
	return name, span{uint32(v), uint32(e)}, nil
}

// isName reports whether b is the given lower-case name, in whatever case.
func isName(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// nextElement cuts the first element off a comma-separated list.
func nextElement(list []byte) (element, rest []byte) {
	element, rest, _ = bytes.Cut(list, []byte{','})
	return bytes.Trim(element, " \t"), rest
}

// parseLength reads a Content-Length.
func parseLength(b []byte) (int64, bool) {
	const digits = 18 // always fits
	if len(b) == 0 || len(b) > digits {
		return 0, false
	}
	var n int64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
