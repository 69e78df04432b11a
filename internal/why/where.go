package why

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

func (e *explanation) scheme() {
	const step = "protocol"
	if e.target.scheme == "https" {
		e.no(step, workload.NotHTTP, "the program speaks TLS, which is relayed as it is: a token is put on plaintext HTTP/1.1 requests only",
			"have the program use http:// to the destination's plaintext port")
		return
	}
	e.ok(step, "plaintext HTTP, host %s, port %d", e.target.host, e.target.port)
}

// registered says which destination it is, or which was probably meant.
func (e *explanation) registered() {
	const step = "destination"
	if e.destination != nil {
		e.ok(step, "it is %s", e.destination.Name)
		return
	}
	says := fmt.Sprintf("no destination has host %s at port %d", e.target.host, e.target.port)
	var elsewhere, there []string
	for _, d := range e.world.Policy.Destinations() {
		for _, port := range d.Ports {
			if e.world.Policy.Destination(e.target.host, port) == d && !slices.Contains(elsewhere, d.Name) {
				elsewhere = append(elsewhere, fmt.Sprintf("%s has the host at port %d", d.Name, port))
			}
		}
		if slices.Contains(d.Ports, e.target.port) {
			there = append(there, d.Name+" ("+some(d.Hosts)+")")
		}
	}
	switch {
	case len(elsewhere) > 0:
		e.no(step, workload.NoDestination, says+"; "+some(elsewhere), fmt.Sprintf("add %d to its ports, if the token is meant for that port too", e.target.port))
	case len(there) > 0:
		e.no(step, workload.NoDestination, says+"; at that port there are "+some(there), fmt.Sprintf("add %s to hosts of the destination that is meant; it is the Host field that counts", e.target.host))
	default:
		e.no(step, workload.NoDestination, says, "declare a destination with this host and port")
	}
}

func (e *explanation) listed() {
	const step = "listed"
	d := e.destination
	switch {
	case e.subject.Process == nil:
		e.ok(step, "%s gives a token to %s", d.Name, some(d.Identities))
	case e.identity == nil:
		e.unknown(step, d.Name+" gives a token to "+some(d.Identities), "")
	case d.Lists(e.identity.Name):
		e.ok(step, "%s lists %s", d.Name, e.identity.Name)
	default:
		e.no(step, workload.NoIdentity, fmt.Sprintf("%s does not list %s; it lists %s", d.Name, e.identity.Name, some(d.Identities)),
			fmt.Sprintf("add %s to identities of %s", e.identity.Name, d.Name))
	}
}

// rule says whether method and path are such that a token is due.
func (e *explanation) rule() {
	const step = "rule"
	d := e.destination
	switch {
	case strings.EqualFold(e.target.method, "TRACE"), strings.EqualFold(e.target.method, "TRACK"):
		e.no(step, workload.Untouched, e.target.method+" requests never carry a token: a server may send them back", "")
	case strings.EqualFold(e.target.method, "CONNECT"):
		e.no(step, workload.Untouched, "CONNECT requests never carry a token", "")
	case len(d.Methods) > 0 && !slices.Contains(d.Methods, e.target.method):
		e.no(step, workload.Untouched, fmt.Sprintf("methods of %s are %s, and this is %s", d.Name, some(d.Methods), e.target.method), "add "+e.target.method+" to methods")
	case e.world.PathInRule != nil && !e.world.PathInRule(d.Paths, e.target.path):
		e.no(step, workload.Untouched, fmt.Sprintf("paths of %s are %s, and %s is none of them, or is spelled so that servers read it in different ways", d.Name, some(d.Paths), e.target.path),
			"add it to paths, or have the program spell it plainly")
	default:
		e.ok(step, "%s %s is within the rule", e.target.method, e.target.path)
	}
}

func (e *explanation) enforced() {
	const step = "enforce"
	d := e.destination
	switch {
	case !d.Enforce:
		e.no(step, workload.Observed, d.Name+" says enforce: false: requests are attributed and counted, and go on as they came", "remove enforce: false")
	case d.ExistingAuthorization == workload.ReplaceAuthorization:
		e.ok(step, "on_failure is %s; a credential of the program's own is replaced", d.OnFailure)
	case d.ExistingAuthorization == workload.KeepAuthorization:
		e.ok(step, "on_failure is %s; with a credential of the program's own the request is untouched (existing_authorization: keep)", d.OnFailure)
	default:
		e.ok(step, "on_failure is %s; with a credential of the program's own the request is refused (existing_authorization: refuse)", d.OnFailure)
	}
}

// lookupTime bounds the look-up of the host and the verification of its addresses.
const lookupTime = 5 * time.Second

// verified says of each address that the program may connect to whether it is known to
// be the host.
func (e *explanation) verified(given netip.Addr) {
	const step = "address"
	ctx, cancel := context.WithTimeout(e.ctx, lookupTime)
	defer cancel()
	addresses, from := []netip.Addr{given}, "given"
	if !given.IsValid() {
		var err error
		if addresses, err = e.addresses(ctx); err != nil {
			e.unknown(step, fmt.Sprintf("which address the program connects to is not known: %v", err), "say it with --address")
			return
		}
		from = "this host's resolver says"
	}
	if e.world.Verify == nil {
		e.unknown(step, "whether an address is the host is not known", "")
		return
	}
	var good, wrong []string
	for _, addr := range addresses {
		if err := e.world.Verify(ctx, e.destination, e.target.host, netip.AddrPortFrom(addr.Unmap(), e.target.port)); err != nil {
			wrong = append(wrong, err.Error())
			continue
		}
		good = append(good, addr.String())
	}
	if len(wrong) > 0 {
		if len(wrong) > maxShown {
			wrong = append(wrong[:maxShown], fmt.Sprintf("%d more", len(wrong)-maxShown))
		}
		e.no(step, workload.DestinationUnverified, strings.Join(wrong, "\n"), "")
		return
	}
	e.ok(step, "%s (%s) is known to be %s", some(good), from, e.target.host)
}

func (e *explanation) addresses(ctx context.Context) ([]netip.Addr, error) {
	if literal, err := netip.ParseAddr(e.target.host); err == nil {
		return []netip.Addr{literal}, nil
	}
	if e.world.Lookup == nil {
		return nil, fmt.Errorf("%s was not looked up", e.target.host)
	}
	addresses, err := e.world.Lookup(ctx, e.target.host)
	if err == nil && len(addresses) == 0 {
		err = fmt.Errorf("%s has no address", e.target.host)
	}
	return addresses, err
}

func (e *explanation) served() {
	if !e.destination.ServedBy.IsZero() {
		e.unknown("served_by", "who has the server's socket is looked at once there is a connection", "lanyard check says who has it now")
	}
}

func (e *explanation) token() {
	const step = "token"
	d := e.destination
	switch {
	case e.world.Token == nil || !d.Enforce:
	case e.subject.Process == nil:
		for _, identity := range d.Identities[:min(len(d.Identities), maxShown)] {
			e.answered(step+" "+identity, workload.TokenUnavailable, e.world.Token(identity, d.Audience))
		}
	case e.identity != nil && d.Lists(e.identity.Name):
		e.answered(step, workload.TokenUnavailable, e.world.Token(e.identity.Name, d.Audience))
	}
}

func (e *explanation) room() {
	if e.world.Room != nil {
		e.answered("connections", workload.AgentUnavailable, e.world.Room())
	}
}
