package serverurl

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/lanyardhq/lanyard/internal/trustedpath"
)

// maxRoots bounds a file of CAs in bytes: the system's have a quarter of a million.
const maxRoots = 4 << 20

// Parse returns the URL that a setting holds: http or https, with a host, and
// without user or fragment. An error names the setting, and not its value, which
// can hold a password.
func Parse(setting, value string) (*url.URL, error) {
	u, err := url.Parse(value)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		return nil, fmt.Errorf("%s is not an http or https URL with a host; write one like https://authority.internal:8700", setting)
	case u.User != nil:
		return nil, fmt.Errorf("%s must not have a user name or password; remove them", setting)
	case strings.Contains(value, "#"):
		return nil, fmt.Errorf("%s must not have a fragment; remove it", setting)
	}
	return u, nil
}

// ParseBase is Parse for a URL that paths are put behind: it has no query either.
func ParseBase(setting, value string) (*url.URL, error) {
	u, err := Parse(setting, value)
	if err == nil && (u.RawQuery != "" || u.ForceQuery) {
		return nil, fmt.Errorf("%s must not have a query; remove it", setting)
	}
	return u, err
}

// InTheClear reports whether what is said to the URL's host can be read, and
// changed, on its way: by plain HTTP, to another host than this. localhost is this host
// for who dials by DialContext.
func InTheClear(u *url.URL) bool {
	return u.Scheme == "http" && !IsLoopback(u.Hostname())
}

// IsLoopback reports whether a host name is this host by definition (RFC 6761
// section 6.3) or a loopback address.
func IsLoopback(host string) bool {
	if strings.EqualFold(host, localhost) {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// ReadRoots reads the PEM file of the CAs to trust that LANYARD_CA_FILE names. For
// "" it returns nil, which stands for the system's. A file that others can write is
// refused: they could answer in the server's place.
func ReadRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := trustedpath.Read(file, trustedpath.Given, maxRoots)
	if err != nil {
		return nil, fmt.Errorf("read LANYARD_CA_FILE: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read LANYARD_CA_FILE: %s holds no certificate in PEM", file)
	}
	return roots, nil
}
