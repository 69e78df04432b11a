package workload

import "unicode/utf8"

// IsSafePath reports whether every server finds the same thing at the path of a
// request (RFC 3986 section 3.3), whatever it decodes, takes off or cleans up: it
// begins with a slash, and each of its segments
//
//   - has unreserved characters, ":", "@" and sub-delims other than ";", which ends
//     a segment's name where parameters are taken off it,
//   - encodes by percent signs only such characters other than ".", or bytes above
//     ASCII that are valid UTF-8,
//   - is not made of dots alone, and
//   - is not empty, unless it is the last one.
//
// A query is no part of a path, and neither is a fragment: no client sends one. It
// does not allocate.
func IsSafePath[T ~string | ~[]byte](path T) bool {
	if len(path) == 0 || path[0] != '/' {
		return false
	}
	var s segment
	for i := 1; i < len(path); i++ {
		c, encoded := path[i], false
		if c == '%' {
			if i+2 >= len(path) {
				return false
			}
			high, ok := hexValue(path[i+1])
			low, alsoOK := hexValue(path[i+2])
			if !ok || !alsoOK {
				return false
			}
			c, encoded = high<<4|low, true
			i += 2
		}
		if !s.add(c, encoded) {
			return false
		}
	}
	return s.size == 0 && s.bytes == 0 || s.ends()
}

// segment is what is known of a path's segment so far.
type segment struct {
	size, dots int // characters, and how many of them are dots
	rune       [utf8.UTFMax]byte
	bytes      int // of a character above ASCII that is not complete
}

// add takes the segment's next byte, or the slash that ends it, and reports whether
// the path may still be safe.
func (s *segment) add(c byte, encoded bool) bool {
	switch {
	case encoded && c >= utf8.RuneSelf:
		return s.addAboveASCII(c)
	case s.bytes > 0, c == '.' && encoded:
		return false
	case c == '/' && !encoded:
		ended := s.ends()
		*s = segment{}
		return ended
	case c == '.':
		s.dots++
	case !isPathCharacter(c):
		return false
	}
	s.size++
	return true
}

func (s *segment) addAboveASCII(c byte) bool {
	s.rune[s.bytes] = c
	s.bytes++
	if !utf8.FullRune(s.rune[:s.bytes]) {
		return true
	}
	r, size := utf8.DecodeRune(s.rune[:s.bytes])
	if r == utf8.RuneError && size == 1 {
		return false
	}
	s.bytes = 0
	s.size++
	return true
}

// ends reports whether the segment may end here.
func (s *segment) ends() bool { return s.bytes == 0 && s.size > s.dots }

// isPathCharacter reports whether a character other than a dot stands for itself in
// every server's paths: RFC 3986's unreserved, sub-delims without ";", ":" and "@".
func isPathCharacter(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	switch c {
	case '-', '_', '~', '!', '$', '&', '\'', '(', ')', '*', '+', ',', '=', ':', '@':
		return true
	}
	return false
}

func hexValue(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}
