package registry

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Limits of a host name, RFC 1035 section 2.3.4.
const (
	maxHost  = 253
	maxLabel = 63
)

// parseHost checks a host as it was written and returns it normalised: lower
// case, no trailing dot, addresses in their one canonical form.
func parseHost(text string) (string, error) {
	switch {
	case text == "":
		return "", errors.New("the host is empty; write a name, *.name or an address")
	case strings.Contains(text, "://"):
		return "", fmt.Errorf("%q is a URL; write the host alone, and its port below ports", text)
	case text == "*":
		return "", errors.New("* would give the token to every host; write *.name")
	}
	if addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")); err == nil {
		if addr.Zone() != "" {
			return "", fmt.Errorf("%q has a zone, which no Host field carries; leave %%%s out", text, addr.Zone())
		}
		return addr.Unmap().String(), nil
	}
	host := strings.TrimSuffix(strings.ToLower(text), ".")
	name := strings.TrimPrefix(host, "*.")
	if err := checkName(name); err != nil {
		return "", fmt.Errorf("%q is no host: %w", text, err)
	}
	return host, nil
}

// checkName reports what keeps a name, without a leading wildcard, from being
// the name of a host.
func checkName(name string) error {
	if len(name) > maxHost {
		return fmt.Errorf("it is longer than %d characters", maxHost)
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if err := checkLabel(label); err != nil {
			return err
		}
		last = label
	}
	if strings.Trim(last, "0123456789") == "" {
		return errors.New("it ends in a number but is no address")
	}
	return nil
}

func checkLabel(label string) error {
	switch {
	case label == "":
		return errors.New("it has an empty label; leave the extra dot out")
	case len(label) > maxLabel:
		return fmt.Errorf("the label %q is longer than %d characters", label, maxLabel)
	case label[0] == '-' || label[len(label)-1] == '-':
		return fmt.Errorf("the label %q starts or ends with a hyphen", label)
	}
	for _, r := range label {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '-', r == '_':
		case r == '*':
			return errors.New("a * stands only first, as a whole label: *.example.org")
		case r == ':':
			return errors.New("a port belongs below ports")
		case r > 0x7f:
			return errors.New("write it as it travels, in its xn-- form")
		default:
			return fmt.Errorf("%q cannot stand in a host name", r)
		}
	}
	return nil
}

// isAddress reports whether a normalised host is an address.
func isAddress(host string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(host)
	return addr, err == nil
}
