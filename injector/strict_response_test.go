package injector

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The tests' own reader of responses takes what every client that takes it at all
// ends in the same place, and says where they may differ. It has as little in common
// with the package as readMessage.
var (
	statusLine   = regexp.MustCompile(`^HTTP/1\.([0-9]) ([1-9][0-9][0-9])( [^\x00-\x08\x0a-\x1f\x7f]*)?$`)
	looseHeadEnd = regexp.MustCompile(`\r?\n\r?\n`)
	lineEnd      = regexp.MustCompile(`\r?\n`)
	looseField   = regexp.MustCompile("^([!#$%&'*+.^_`|~0-9A-Za-z-]+)([ \\t]*):([^\\x00-\\x08\\x0a-\\x1f\\x7f]*)$")
	folded       = regexp.MustCompile(`^[ \t][^\x00-\x08\x0a-\x1f\x7f]*$`)
	padded       = regexp.MustCompile(`(?i)^transfer-encoding[ \t]*:.*[^ \t].*[ \t]$`)
	aboutBody    = regexp.MustCompile(`(?i)^(content-length|transfer-encoding)[ \t]*:`)
	looseChunk   = regexp.MustCompile(`^0*([0-9A-Fa-f]{0,15})[ \t]*(;[^\x00-\x08\x0a-\x1f\x7f]*\r|\r?)\n`)
	someDigit    = regexp.MustCompile(`^[0-9A-Fa-f]`)
)

// reading is a response as clients read it.
type reading struct {
	size  int
	final bool // not interim
	doubt bool // clients may differ about its end
}

// answersIn returns how many answers to GET requests all clients read from all the
// bytes that a server sent, up to the end, to what is none, or to a doubt.
func answersIn(s string, requests int) (n int) {
	for n < requests {
		r, err := readAnswer(s)
		if err != nil {
			return n
		}
		s = s[r.size:]
		if r.final {
			n++
		}
		if r.doubt {
			return n
		}
	}
	return n
}

// readAnswer reads the response at the beginning of s, at whose end the server
// closed.
func readAnswer(s string) (r reading, err error) {
	start := len(s) - len(strings.TrimLeft(s, "\r\n"))
	end := looseHeadEnd.FindStringIndex(s[start:])
	if end == nil {
		return r, errUnfinished
	}
	lines := lineEnd.Split(s[start:start+end[0]], -1)
	parts := statusLine.FindStringSubmatch(lines[0])
	if parts == nil {
		return r, fmt.Errorf("%w: status line %q", errNotStrict, lines[0])
	}
	m := message{old: parts[1] == "0"}
	spaced, err := m.readLoose(lines[1:])
	if err != nil {
		return r, err
	}
	head := start + end[1]
	n, doubt, err := m.answerSize(parts[2], s[head:], spaced)
	return reading{head + n, parts[2][0] != '1', doubt}, err
}

// readLoose reads field lines as clients do, and reports whether a name, or the end of
// a coding, is spaced: that hides the field from some.
func (m *message) readLoose(lines []string) (spaced bool, err error) {
	for i, line := range lines {
		if folded.MatchString(line) && i > 0 && !aboutBody.MatchString(m.lines[len(m.lines)-1]) {
			continue
		}
		parts := looseField.FindStringSubmatch(line)
		if parts == nil {
			return false, fmt.Errorf("%w: field line %q", errNotStrict, line)
		}
		spaced = spaced || parts[2] != "" || padded.MatchString(line)
		m.lines = append(m.lines, parts[1]+":"+parts[3])
	}
	return spaced, nil
}

// answerSize returns how many bytes of rest are the body of a response.
func (m *message) answerSize(status, rest string, spaced bool) (n int, doubt bool, err error) {
	codings := m.values("Transfer-Encoding")
	length, listed, err := m.looseLength()
	switch {
	case err != nil:
		return 0, false, err
	case status == "101":
		return 0, false, fmt.Errorf("%w: status %s", errNotStrict, status)
	case status[0] == '1':
		return 0, false, nil
	case status == "204" || status == "304":
		return 0, len(codings) > 0, nil
	case len(codings) > 0 && !endsChunked(codings):
		return len(rest), spaced || listed, nil
	case len(codings) > 0:
		n, doubt, err = looseChunks(rest)
		return n, doubt || spaced || m.old || length >= 0 || len(codings) > 1 || asciiLower(codings[0]) != "chunked", err
	case length < 0:
		return len(rest), spaced, nil
	case length > len(rest):
		return 0, false, errUnfinished
	}
	return length, spaced || listed, nil
}

// looseLength returns the one length of all that a response has, or -1, and whether
// one of them is a list.
func (m *message) looseLength() (length int, listed bool, err error) {
	length = -1
	for _, list := range m.values("Content-Length") {
		listed = listed || strings.Contains(list, ",")
		for _, value := range strings.Split(strings.TrimSuffix(list, ","), ",") {
			if value = strings.Trim(value, " \t"); !lengthValue.MatchString(value) {
				return 0, false, fmt.Errorf("%w: length %q", errNotStrict, list)
			}
			n, err := strconv.Atoi(value)
			if err != nil || length >= 0 && n != length {
				return 0, false, fmt.Errorf("%w: lengths differ: %q", errNotStrict, list)
			}
			length = n
		}
	}
	return length, listed, nil
}

// endsChunked reports whether chunked is the last coding, and applied once.
func endsChunked(lines []string) bool {
	codings := strings.Split(asciiLower(strings.Join(lines, ",")), ",")
	for i := range codings {
		codings[i] = strings.Trim(codings[i], " \t")
	}
	codings = slices.DeleteFunc(codings, func(coding string) bool { return coding == "" })
	return len(codings) > 0 && slices.Index(codings, "chunked") == len(codings)-1
}

// asciiLower leaves letters such as the Kelvin sign alone, which strings.ToLower takes for
// one of ASCII's.
func asciiLower(s string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}, s)
}

// looseChunks returns how many bytes of s are its chunked body.
func looseChunks(s string) (size int, doubt bool, err error) {
	for rest := s; ; {
		parts := looseChunk.FindStringSubmatch(rest)
		if parts == nil || !someDigit.MatchString(rest) {
			return 0, false, fmt.Errorf("%w: chunk %q", errNotStrict, rest)
		}
		rest = rest[len(parts[0]):]
		n, err := strconv.ParseInt("0"+parts[1], 16, 64)
		switch {
		case err != nil:
			return 0, false, err
		case n == 0:
			k, doubt, err := looseTrailers(rest)
			return len(s) - len(rest) + k, doubt, err
		case int64(len(rest)) < n+2 || rest[n:n+2] != "\r\n":
			return 0, false, fmt.Errorf("%w: chunk ends in %q", errNotStrict, rest)
		}
		rest = rest[n+2:]
	}
}

func looseTrailers(s string) (size int, doubt bool, err error) {
	for rest := s; ; {
		line, after, found := strings.Cut(rest, "\n")
		switch {
		case !found:
			return 0, false, errUnfinished
		case line != "\r" && strings.HasPrefix(line, "\r"):
			return 0, false, fmt.Errorf("%w: trailer %q", errNotStrict, line)
		}
		doubt = doubt || !strings.HasSuffix(line, "\r")
		if strings.TrimSuffix(line, "\r") == "" {
			return len(s) - len(after), doubt, nil
		}
		rest = after
	}
}
