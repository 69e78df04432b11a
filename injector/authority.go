package injector

import (
	"bytes"
	"net/netip"
	"strings"
)

// defaultPort is the port of a plaintext authority that names none.
const defaultPort = 80

// maxHost is the longest host that is looked at; DNS names have at most 253 bytes.
const maxHost = 255

// authority is a normalised host and the port beside it: lower case, no trailing
// dot, no brackets, IPv6 in its one canonical form, default port filled in. The
// zero authority is none.
type authority struct {
	host string
	port uint16
}

// parseAuthority reads uri-host [":" port] (RFC 9110 §7.2). User information is
// refused, see RFC 9110 §4.2.4.
func parseAuthority(b []byte) (authority, error) {
	if len(b) == 0 {
		return authority{}, nil
	}
	host, port, err := splitPort(b)
	if err != nil {
		return authority{}, err
	}
	if host[0] == '[' {
		addr, err := netip.ParseAddr(string(host[1 : len(host)-1]))
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return authority{}, errHost
		}
		return authority{addr.String(), port}, nil
	}
	if len(host) > maxHost || !all(host, hostByte) {
		return authority{}, errHost
	}
	name := strings.TrimSuffix(strings.ToLower(string(host)), ".")
	if name == "" {
		return authority{}, errHost
	}
	return authority{name, port}, nil
}

func splitPort(b []byte) (host []byte, port uint16, err error) {
	end := bytes.IndexByte(b, ':')
	if b[0] == '[' {
		end = bytes.IndexByte(b, ']') + 1
		if end == 0 {
			return nil, 0, errHost
		}
	} else if end < 0 {
		end = len(b)
	}
	if end == 0 {
		return nil, 0, errHost
	}
	switch rest := b[end:]; {
	case len(rest) == 0, len(rest) == 1 && rest[0] == ':':
		return b[:end], defaultPort, nil
	case rest[0] != ':' || len(rest) > len(":65535"):
		return nil, 0, errHost
	default:
		n, ok := parseLength(rest[1:])
		if !ok || n == 0 || n > 65535 {
			return nil, 0, errHost
		}
		return b[:end], uint16(n), nil
	}
}

// authorities remembers the last authority it read: on a keep-alive connection
// the next request names the same one, and then nothing is allocated.
type authorities struct {
	raw    string
	parsed authority
}

func (a *authorities) parse(b []byte) (authority, error) {
	if a.raw == string(b) { // compares without allocating
		return a.parsed, nil
	}
	parsed, err := parseAuthority(b)
	if err != nil {
		return authority{}, err
	}
	a.raw, a.parsed = string(b), parsed
	return parsed, nil
}
