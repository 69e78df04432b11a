package registry

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// maxAudience bounds an audience: longer than any URL that names a service, and
// short enough for every header and log line.
const maxAudience = 1024

// Ports whose traffic is known without looking: plaintext and TLS.
const (
	portHTTP  = 80
	portHTTPS = 443
)

// compileDestination checks one destination by itself. What it shares with
// others is checked afterwards.
func compileDestination(spec *DestinationSpec, accounts workload.Accounts, path string, r *report) *workload.Destination {
	d := &workload.Destination{
		Name:       spec.Name,
		Audience:   spec.Audience,
		Identities: slices.Clone(spec.Identities),
		Enforce:    !spec.Observe,
		Methods:    slices.Clone(spec.Methods),
		Paths:      slices.Clone(spec.Paths),
	}
	checkResourceName(d.Name, path+".name", r)
	d.Hosts = compileHosts(spec.Hosts, path+".hosts", r)
	d.Ports = compilePorts(spec.Ports, path+".ports", r)
	d.Addresses = compileAddresses(spec.Addresses, path+".addresses", r)
	d.Verify = compileVerification(spec.Verify, d, path+".verify", r)
	checkWildcards(d, path, r)
	checkAudience(d.Audience, path+".audience", r)
	checkMethods(d.Methods, path+".methods", r)
	checkPaths(d.Paths, path+".paths", r)
	d.ServedBy = compileServer(spec.ServedBy, d.Name, accounts, path+".served_by", r)
	d.ExistingAuthorization = choose(spec.ExistingAuthorization, path+".existing_authorization", r,
		workload.ReplaceAuthorization, workload.KeepAuthorization, workload.RefuseAuthorization)
	d.OnFailure = choose(spec.OnFailure, path+".on_failure", r, workload.FailClosed, workload.FailOpen)
	d.Unknown = choose(spec.Unknown, path+".unknown", r, workload.UnknownPass, workload.UnknownRefusedElsewhere, workload.UnknownRefused)
	d.Before = choose(spec.Before, path+".connections_before", r, workload.EndBefore, workload.CountBefore)
	checkUnknown(d, path+".unknown", r)
	if spec.Before != "" && d.OnFailure != workload.FailClosed {
		r.wrong(path+".connections_before", "%q acts only where on_failure is closed, and here it is %s; leave it out, or write on_failure: closed", spec.Before, d.OnFailure)
	}
	checkTLSPort(d, path+".ports", r)
	return d
}

// compileServer checks who has to own the listening socket. Its keys mean what they
// mean of a process that connects.
func compileServer(spec *ServerSpec, destination string, accounts workload.Accounts, path string, r *report) workload.Selector {
	if spec == nil {
		return workload.Selector{}
	}
	if spec.SystemdUnits == nil && spec.Cgroups == nil && spec.Users == nil {
		r.wrong(path, "it names nobody; write systemd_unit, cgroup or user, or leave it out")
		return workload.Selector{}
	}
	selector, err := workload.NewSelector(workload.SelectorSpec{
		SystemdUnits: spec.SystemdUnits, Cgroups: spec.Cgroups, Users: spec.Users,
	}, accounts)
	var wrong workload.SelectorErrors
	if errors.As(err, &wrong) && slices.ContainsFunc(wrong, func(e *workload.SelectorError) bool { return e.Kind == "" }) {
		r.wrong(path, "it holds every process of this host; name a unit, a cgroup or a user that others do not have")
	} else if err != nil {
		reportSelector(err, fmt.Sprintf("destination %q", destination), path, r)
	}
	return selector
}

// choose returns the choice that was written; the first is the default.
func choose[T ~string](text, path string, r *report, choices ...T) T {
	if text == "" {
		return choices[0]
	}
	for _, choice := range choices {
		if string(choice) == text {
			return choice
		}
	}
	names := make([]string, len(choices))
	for i, choice := range choices {
		names[i] = string(choice)
	}
	r.wrong(path, "%q is not one of the choices; write %s", text, strings.Join(names, " or "))
	return choices[0]
}

// compileVerification refuses what could verify nothing.
func compileVerification(text string, d *workload.Destination, path string, r *report) workload.Verification {
	if text == "tls" {
		r.wrong(path, "a certificate verifies only what the agent speaks TLS to, which it does not yet; write addresses or dns")
		return workload.VerifyByDNS
	}
	verify := choose(text, path, r, workload.VerifyByDNS, workload.VerifyByAddresses)
	if verify == workload.VerifyByAddresses && len(d.Addresses) == 0 {
		r.wrong(path, "it has no addresses that could verify it; write them, or verify: dns")
	}
	return verify
}

// checkUnknown refuses what would never be asked: nobody is refused at a destination
// that does not fail closed.
func checkUnknown(d *workload.Destination, path string, r *report) {
	switch {
	case d.Unknown == workload.UnknownPass:
	case d.OnFailure != workload.FailClosed:
		r.wrong(path, "%q acts only where on_failure is closed, and here it is %s; leave it out, or write on_failure: closed", d.Unknown, d.OnFailure)
	case !d.Enforce:
		r.wrong(path, "%q acts only where a token is due, and here enforce is false; leave it out", d.Unknown)
	}
}

// checkTLSPort says what becomes of TLS, into which no token can be put: a destination
// that fails closed gets none of it.
func checkTLSPort(d *workload.Destination, path string, r *report) {
	if i := slices.Index(d.Ports, portHTTPS); i >= 0 && d.Enforce && d.OnFailure == workload.FailClosed {
		r.warn(element(path, i), "no token can be put into TLS, so that connections of %q's identities to port %d are ended (on_failure: closed); "+
			"take the port out, or write on_failure: open to let them through without a token", d.Name, portHTTPS)
	}
}

func compileHosts(texts []string, path string, r *report) []string {
	if len(texts) == 0 {
		r.wrong(path, "no host; name at least one")
	}
	var hosts []string
	for i, text := range texts {
		host, err := parseHost(text)
		switch {
		case err != nil:
			r.wrong(element(path, i), "%v", err)
		case slices.Contains(hosts, host):
			r.wrong(element(path, i), "%q is listed twice; leave one out", host)
		default:
			hosts = append(hosts, host)
			if name, ok := strings.CutPrefix(host, "*."); ok && !strings.Contains(name, ".") {
				r.warn(element(path, i), "%q holds every name below a top-level domain; make sure that it is yours alone", host)
			}
		}
	}
	return hosts
}

func compilePorts(numbers []int, path string, r *report) []uint16 {
	if len(numbers) == 0 {
		r.wrong(path, "no port; name at least one, such as [80]")
	}
	var ports []uint16
	for i, n := range numbers {
		switch {
		case n < 1 || n > 65535:
			r.wrong(element(path, i), "%d is no port; write 1 to 65535", n)
		case slices.Contains(ports, uint16(n)):
			r.wrong(element(path, i), "%d is listed twice; leave one out", n)
		default:
			ports = append(ports, uint16(n))
		}
	}
	return ports
}

func compileAddresses(texts []string, path string, r *report) []netip.Prefix {
	var prefixes []netip.Prefix
	for i, text := range texts {
		prefix, err := parsePrefix(text)
		switch {
		case err != nil:
			r.wrong(element(path, i), "%v", err)
		case slices.Contains(prefixes, prefix):
			r.wrong(element(path, i), "%v is listed twice; leave one out", prefix)
		default:
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes
}

// parsePrefix reads a CIDR or a single address.
func parsePrefix(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		addr, addrErr := netip.ParseAddr(text)
		if addrErr != nil || addr.Zone() != "" {
			return prefix, fmt.Errorf("%q is no address range; write one like 10.1.0.0/16", text)
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	if addr := prefix.Addr(); addr.Is4In6() && prefix.Bits() >= 96 {
		prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
	}
	switch {
	case prefix.Bits() == 0:
		return prefix, fmt.Errorf("%q is every address, so it verifies nothing; write the destination's own ranges, or leave addresses out", text)
	case prefix != prefix.Masked():
		return prefix, fmt.Errorf("%q has bits set behind its length; write %v", text, prefix.Masked())
	}
	return prefix, nil
}

// checkWildcards refuses wildcards that no plaintext connection can be verified
// for: a name that was never configured cannot be resolved ahead.
func checkWildcards(d *workload.Destination, path string, r *report) {
	if len(d.Addresses) > 0 {
		return
	}
	for _, host := range d.Hosts {
		if !strings.HasPrefix(host, "*.") {
			continue
		}
		switch {
		case slices.Contains(d.Ports, portHTTP):
			r.wrong(path+".hosts", "%q on port %d is plaintext, where a wildcard is verified by its addresses only; add addresses with its ranges, or name each host", host, portHTTP)
		case slices.ContainsFunc(d.Ports, func(p uint16) bool { return p != portHTTPS }):
			r.warn(path+".hosts", "%q has no addresses: a plaintext request to it never gets a token; add addresses, or name each host", host)
		}
		return
	}
}

func checkAudience(audience, path string, r *report) {
	if len(audience) > maxAudience {
		r.wrong(path, "the audience is longer than %d characters; write the one that the destination expects", maxAudience)
	}
	for i := range len(audience) {
		if c := audience[i]; c <= ' ' || c > '~' {
			r.wrong(path, "character %d of the audience is a space, a control character or not ASCII; write exactly one audience", i+1)
			return
		}
	}
}

func checkMethods(methods []string, path string, r *report) {
	for i, method := range methods {
		at := element(path, i)
		switch {
		case method == "TRACE" || method == "CONNECT":
			r.wrong(at, "a %s request never carries a token, so this can never match; leave it out", method)
		case !isToken(method):
			r.wrong(at, "%q is no method; write one like GET", method)
		case method != strings.ToUpper(method):
			r.wrong(at, "methods are written in capitals; write %s", strings.ToUpper(method))
		case slices.Contains(methods[:i], method):
			r.wrong(at, "%q is listed twice; leave one out", method)
		}
	}
}

// isToken reports whether the text is a token, RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}

func checkPaths(paths []string, path string, r *report) {
	for i, p := range paths {
		at := element(path, i)
		switch {
		case !strings.HasPrefix(p, "/"):
			r.wrong(at, "%q does not start with a slash; write it from / on", p)
		case strings.ContainsAny(p, "?#"):
			r.wrong(at, "%q holds a query or a fragment, which is no part of a path; leave it out", p)
		case strings.Contains(p, "*"):
			r.wrong(at, "%q holds a *, which is no wildcard here; end in / for everything below", p)
		case strings.ContainsFunc(p, func(c rune) bool { return c <= ' ' || c > '~' }):
			r.wrong(at, "%q holds a character that a path carries only percent-encoded; encode it", p)
		case slices.ContainsFunc(strings.Split(p, "/"), isDotSegment):
			r.wrong(at, "%q holds a dot segment, which clients or servers remove; write the path without it", p)
		case !workload.IsSafePath(p):
			r.wrong(at, "%q can be read in different ways, so that no request's path ever matches it: it holds a //, a character such as ; or a backslash, or a percent sign "+
				"before something else than a letter, a digit or UTF-8 above ASCII; write it plainly, or the folder above it with a / at the end", p)
		case slices.Contains(paths[:i], p):
			r.wrong(at, "%q is listed twice; leave one out", p)
		}
	}
}

// isDotSegment reports whether a segment is "." or "..", or would be for a server that
// takes parameters off.
func isDotSegment(segment string) bool {
	name, _, parameters := strings.Cut(segment, ";")
	return name == "." || name == ".." || name == "" && parameters
}
