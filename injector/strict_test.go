package injector

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// message is a request as the tests' own strict reader understands it. That reader
// shares nothing with the parser of this package: it cuts text and matches it
// against the grammar, so that a mistake would have to be made twice.
type message struct {
	raw    string
	method string
	target string
	host   string
	lines  []string // the field lines of the head
	body   string   // as it is framed, trailers among it
	whole  bool     // all of the body is there
	last   bool     // its client sends no more
	old    bool     // HTTP/1.0
	early  bool     // it was answered before it was whole
}

var (
	// errUnfinished says that more bytes are needed.
	errUnfinished = errors.New("the message is not complete")
	errNotStrict  = errors.New("no strict server would take this")

	requestLine = regexp.MustCompile("^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([^\\x00-\\x20\\x7f]+) HTTP/1\\.([01])$")
	fieldLine   = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\\x00-\\x08\\x0a-\\x1f\\x7f]*$")
	lengthValue = regexp.MustCompile(`^[0-9]{1,18}$`)
	chunkLine   = regexp.MustCompile("^([0-9A-Fa-f]{1,15})([\t ]*;[\t ]*[!#$%&'*+.^_`|~0-9A-Za-z-]+([\t ]*=[\t ]*([!#$%&'*+.^_`|~0-9A-Za-z-]+|\"([\t !#-\\[\\]-~]|\\\\[\t -~])*\"))?)*$")
	mergedNames = regexp.MustCompile(`(?i)^(authorization|proxy-authorization|cookie|host|content-length|transfer-encoding|connection|upgrade|te|trailer|expect):`)
)

// readMessage reads the request at the beginning of s. With errUnfinished, lines
// is set if the head was complete.
func readMessage(s string) (m message, err error) {
	head, rest, found := strings.Cut(s, "\r\n\r\n")
	if !found {
		return m, errUnfinished
	}
	lines := strings.Split(head, "\r\n")
	parts := requestLine.FindStringSubmatch(lines[0])
	if parts == nil {
		return m, fmt.Errorf("%w: request line %q", errNotStrict, lines[0])
	}
	m = message{method: parts[1], target: parts[2], old: parts[3] == "0", lines: lines[1:]}
	for _, line := range m.lines {
		if !fieldLine.MatchString(line) {
			return m, fmt.Errorf("%w: field line %q", errNotStrict, line)
		}
	}
	if err := m.readFields(); err != nil {
		return m, err
	}
	n, err := m.bodySize(rest)
	m.raw, m.body, m.whole = s[:len(head)+4+n], rest[:n], err == nil
	return m, err
}

// values are those of all fields of that name, without white space around them.
func (m *message) values(name string) (all []string) {
	for _, line := range m.lines {
		if n, v, _ := strings.Cut(line, ":"); strings.EqualFold(n, name) {
			all = append(all, strings.Trim(v, " \t"))
		}
	}
	return all
}

func (m *message) readFields() error {
	hosts := m.values("Host")
	if len(hosts) > 1 || len(hosts) == 0 && !m.old {
		return fmt.Errorf("%w: %d hosts", errNotStrict, len(hosts))
	}
	if len(hosts) == 1 {
		m.host = hosts[0]
	}
	options := "," + strings.ToLower(strings.Join(m.values("Connection"), ",")) + ","
	options = strings.NewReplacer(" ", "", "\t", "").Replace(options)
	m.last = strings.Contains(options, ",close,") || m.old && !strings.Contains(options, ",keep-alive,")
	return nil
}

// bodySize returns how many bytes of rest are the body.
func (m *message) bodySize(rest string) (int, error) {
	lengths, codings := m.values("Content-Length"), m.values("Transfer-Encoding")
	switch {
	case len(lengths)+len(codings) > 1:
		return 0, fmt.Errorf("%w: lengths %q, codings %q", errNotStrict, lengths, codings)
	case len(codings) == 1 && (m.old || !strings.EqualFold(codings[0], "chunked")):
		return 0, fmt.Errorf("%w: coding %q", errNotStrict, codings[0])
	case len(codings) == 1:
		return chunkedSize(rest, mergedNames)
	case len(lengths) == 0:
		return 0, nil
	case !lengthValue.MatchString(lengths[0]):
		return 0, fmt.Errorf("%w: length %q", errNotStrict, lengths[0])
	}
	n, err := strconv.Atoi(lengths[0])
	if err != nil {
		return 0, err
	}
	if n > len(rest) {
		return len(rest), errUnfinished
	}
	return n, nil
}

// chunkedSize returns how many bytes of s are its chunked body. Where that is
// malformed it returns 0: nothing of it can be relied on. No trailer may have one of
// the forbidden names.
func chunkedSize(s string, forbidden *regexp.Regexp) (int, error) {
	for rest := s; ; {
		line, after, found := strings.Cut(rest, "\r\n")
		if !found {
			return len(s), errUnfinished
		}
		parts := chunkLine.FindStringSubmatch(line)
		if parts == nil {
			return 0, fmt.Errorf("%w: chunk %q", errNotStrict, line)
		}
		n, err := strconv.ParseInt(parts[1], 16, 64)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			k, err := trailersSize(after, forbidden)
			return len(s) - len(after) + k, err
		}
		if int64(len(after)) < n+2 {
			if int64(len(after)) > n && after[n] != '\r' {
				return 0, fmt.Errorf("%w: chunk ends in %q", errNotStrict, after[n:])
			}
			return len(s), errUnfinished
		}
		if after[n:n+2] != "\r\n" {
			return 0, fmt.Errorf("%w: chunk ends in %q", errNotStrict, after[n:n+2])
		}
		rest = after[n+2:]
	}
}

func trailersSize(s string, forbidden *regexp.Regexp) (int, error) {
	for rest := s; ; {
		line, after, found := strings.Cut(rest, "\r\n")
		switch {
		case !found:
			return len(s), errUnfinished
		case line == "":
			return len(s) - len(after), nil
		case !fieldLine.MatchString(line), forbidden.MatchString(line):
			return 0, fmt.Errorf("%w: trailer %q", errNotStrict, line)
		}
		rest = after
	}
}

// isCredential reports whether a field line carries an Authorization.
func isCredential(line string) bool {
	name, _, _ := strings.Cut(line, ":")
	return strings.EqualFold(name, "Authorization")
}
