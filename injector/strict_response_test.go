package injector

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var (
	statusLine = regexp.MustCompile(`^HTTP/1\.([0-9]) ([1-9][0-9][0-9])( [^\x00-\x08\x0a-\x1f\x7f]*)?$`)
	nothing    = regexp.MustCompile(`$^`)
)

// answersIn returns how many answers to GET requests a strict client reads from all
// the bytes that a server sent, up to the end or to what is none. It has as little
// in common with the package as readMessage.
func answersIn(s string, requests int) (n int) {
	for n < requests {
		size, final, err := readAnswer(s)
		if err != nil {
			return n
		}
		s = s[size:]
		if final {
			n++
		}
	}
	return n
}

// readAnswer reads the response at the beginning of s, at whose end the server
// closed. An interim one is not final.
func readAnswer(s string) (size int, final bool, err error) {
	head, rest, found := strings.Cut(s, "\r\n\r\n")
	if !found {
		return 0, false, errUnfinished
	}
	lines := strings.Split(head, "\r\n")
	parts := statusLine.FindStringSubmatch(lines[0])
	if parts == nil {
		return 0, false, fmt.Errorf("%w: status line %q", errNotStrict, lines[0])
	}
	m := message{old: parts[1] == "0", lines: lines[1:]}
	for _, line := range m.lines {
		if !fieldLine.MatchString(line) {
			return 0, false, fmt.Errorf("%w: field line %q", errNotStrict, line)
		}
	}
	n, err := m.answerSize(parts[2], rest)
	return len(head) + len("\r\n\r\n") + n, parts[2][0] != '1', err
}

// answerSize returns how many bytes of rest are the body of a response.
func (m *message) answerSize(status, rest string) (int, error) {
	lengths, codings := m.values("Content-Length"), m.values("Transfer-Encoding")
	switch {
	case len(lengths)+len(codings) > 1 || len(codings) == 1 && m.old,
		len(lengths) == 1 && !lengthValue.MatchString(lengths[0]), status == "101":
		return 0, fmt.Errorf("%w: status %s, lengths %q, codings %q", errNotStrict, status, lengths, codings)
	case status[0] == '1' || status == "204" || status == "304":
		return 0, nil
	case len(codings) == 1 && endsChunked(codings[0]):
		return chunkedSize(rest, nothing)
	case len(lengths) == 0:
		return len(rest), nil
	}
	n, err := strconv.Atoi(lengths[0])
	if err == nil && n > len(rest) {
		err = errUnfinished
	}
	return n, err
}

// endsChunked reports whether chunked is the last coding, and applied once.
func endsChunked(value string) bool {
	codings := strings.Split(strings.ToLower(value), ",")
	for i, coding := range codings {
		if (strings.Trim(coding, " \t") == "chunked") != (i == len(codings)-1) {
			return false
		}
	}
	return true
}
