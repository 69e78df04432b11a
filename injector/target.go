package injector

import (
	"bytes"
	"strings"
)

// route finds out where the request goes: from the target, and from Host, which
// must agree where both name an authority.
func (h *head) route(b []byte) (err error) {
	if h.authority, err = h.seen.parse(h.host.of(b)); err != nil {
		return err
	}
	target := h.target.of(b)
	switch {
	case h.is(b, "CONNECT"):
		return h.routeConnect(target)
	case target[0] == '/':
		h.form, h.path = originForm, pathWithin(target, h.target.from, 0)
		return nil
	case string(target) == "*":
		h.form = asteriskForm
		if !h.is(b, "OPTIONS") {
			return errTarget
		}
		return nil
	}
	return h.routeAbsolute(target)
}

func (h *head) routeConnect(target []byte) error {
	h.form = authorityForm
	if h.chunked || h.length > 0 {
		return errConnectBody
	}
	at, err := parseAuthority(target)
	if err != nil || at.host == "" || bytes.IndexByte(target, ':') < 0 {
		return errTarget
	}
	return nil
}

func (h *head) routeAbsolute(target []byte) error {
	scheme, rest, ok := bytes.Cut(target, []byte("://"))
	if !ok || !isScheme(scheme) {
		return errTarget
	}
	h.form = absoluteForm
	if !isName(scheme, "http") {
		h.form = foreignForm
	}
	end := bytes.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	at, err := parseAuthority(rest[:end])
	if err != nil {
		return err
	}
	if at.host == "" {
		return errTarget
	}
	if h.hosts > 0 && at != h.authority {
		return errHostDiffers
	}
	h.authority = at
	h.path = pathWithin(target, h.target.from, len(target)-len(rest)+end)
	return nil
}

func isScheme(b []byte) bool {
	if len(b) == 0 || b[0]|0x20 < 'a' || b[0]|0x20 > 'z' {
		return false
	}
	for _, c := range b {
		if classes[c]&tokenByte == 0 {
			return false
		}
	}
	return true
}

// pathWithin cuts query and fragment off the part of a target that starts at
// from, and gives its place in the buffer.
func pathWithin(target []byte, offset uint32, from int) span {
	end := bytes.IndexAny(target[from:], "?#")
	if end < 0 {
		end = len(target) - from
	}
	return span{offset + uint32(from), offset + uint32(from+end)}
}

// pathAllowed reports whether a rule's paths, prefixes that end in "/" or exact
// paths, hold this one. A path that a server may understand as another one (dot
// segments, also with parameters behind them as Java's servers take them off, an
// encoded dot, slash, backslash or percent sign, an empty segment, a backslash) is in
// no rule that names paths.
func pathAllowed(paths []string, path []byte) bool {
	if len(paths) == 0 {
		return true
	}
	if len(path) == 0 {
		path = []byte("/")
	}
	if path[0] != '/' || ambiguousPath(path) {
		return false
	}
	for _, p := range paths {
		if string(path) == p || strings.HasSuffix(p, "/") && len(path) > len(p) && string(path[:len(p)]) == p {
			return true
		}
	}
	return false
}

func ambiguousPath(path []byte) bool {
	for i, c := range path {
		switch c {
		case '\\':
			return true
		case '%':
			if encodesSeparator(path[i+1:]) {
				return true
			}
		case '/':
			if isDotSegment(path[i+1:]) {
				return true
			}
		}
	}
	return false
}

// isDotSegment reports whether the path goes on with a segment that is "", "." or
// "..", with parameters behind it or not. The path's own end is none.
func isDotSegment(rest []byte) bool {
	if len(rest) == 0 {
		return false
	}
	end := bytes.IndexAny(rest, "/;")
	if end < 0 {
		end = len(rest)
	}
	switch string(rest[:end]) {
	case "", ".", "..":
		return true
	}
	return false
}

// encodesSeparator looks for 2e, 2f, 5c after a percent sign, for 25, which a server
// that decodes twice takes for another percent sign, and for what encodes nothing.
func encodesSeparator(hex []byte) bool {
	if len(hex) < 2 || !isHex(hex[0]) || !isHex(hex[1]) {
		return true
	}
	switch string([]byte{hex[0], hex[1] | 0x20}) {
	case "2e", "2f", "5c", "25":
		return true
	}
	return false
}

func isHex(c byte) bool { return digit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }
