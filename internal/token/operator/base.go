package operator

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// parseBase checks the operator's base and returns it as it goes into the aud of
// proofs: without a slash at its end.
func parseBase(base string, allowInsecure bool) (string, error) {
	u, err := url.Parse(base)
	if err != nil { // which quotes the base, and that can hold a password
		return "", errors.New("parse operator base: it is no URL; want https://HOST/operator")
	}
	switch {
	case u.User != nil: // first: the other errors print the base
		return "", errors.New("parse operator base: it holds a user name or password; remove them")
	case u.Scheme != "https" && u.Scheme != "http":
		return "", fmt.Errorf("parse operator base %q: want https://HOST/operator", base)
	case u.Hostname() == "":
		return "", fmt.Errorf("parse operator base %q: it names no host", base)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "", fmt.Errorf("parse operator base %q: it has a query or a fragment; remove it", base)
	case u.Scheme == "http" && !allowInsecure && !isLoopback(u.Hostname()):
		return "", fmt.Errorf("parse operator base %q: http is accepted to loopback only, because a ticket "+
			"and assertions would pass the network unencrypted; use https, or set allow_insecure", base)
	}
	return strings.TrimRight(base, "/"), nil
}

// ChooseBase returns the operator's base that settings name: the first one that is
// set, or else the authority's URL with /operator.
func ChooseBase(authorityURL string, bases ...string) string {
	for _, base := range bases {
		if base != "" {
			return strings.TrimSuffix(base, "/")
		}
	}
	return strings.TrimSuffix(authorityURL, "/") + "/operator"
}

// isLoopback reports whether a host name is this host by definition (RFC 6761
// section 6.3) or a loopback address.
func isLoopback(host string) bool {
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
