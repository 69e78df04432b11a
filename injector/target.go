package injector

import (
	"bytes"
	"slices"
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

// pathWithin cuts the query off the part of a target that starts at from, and gives
// its place in the buffer. A fragment has no place in a target: some servers cut it
// off, for others it is a part of the path, and so it is one here, and a doubtful one.
func pathWithin(target []byte, offset uint32, from int) span {
	end := bytes.IndexByte(target[from:], '?')
	if end < 0 {
		end = len(target) - from
	}
	return span{offset + uint32(from), offset + uint32(from+end)}
}

// inPaths reports whether a rule's paths, prefixes that end in "/" or exact paths,
// hold this one, which has to be a safe one.
func inPaths(paths []string, path []byte) bool {
	return slices.ContainsFunc(paths, func(p string) bool {
		return string(path) == p || strings.HasSuffix(p, "/") && len(path) > len(p) && string(path[:len(p)]) == p
	})
}
