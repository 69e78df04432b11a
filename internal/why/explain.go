package why

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Question is what somebody wants to know: what becomes of a request.
type Question struct {
	URL     string
	Method  string     // GET if ""
	Address netip.Addr // that the program connects to; what Lookup finds if invalid
	Subject Subject
}

// Subject is who sends the request. The zero Subject is anybody.
type Subject struct {
	Process *workload.Process
	// Unknown lists the kinds of condition of which the process' facts are not known.
	Unknown []workload.SelectorKind
}

// World is what decides, and how things stand with it. A nil function is something that
// cannot be told.
type World struct {
	Source string // whose answers these are
	Policy *registry.Policy
	// PathInRule reports whether a rule's paths hold a path.
	PathInRule func(paths []string, path string) bool
	// Reach says whether the agent sees connects of the process, nil for anybody's.
	Reach  func(p *workload.Process) Answer
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Verify returns nil if an address is known to be a host of a destination.
	Verify func(ctx context.Context, d *workload.Destination, host string, at netip.AddrPort) error
	// Token says whether there is a token.
	Token func(identity, audience string) Answer
	// Room says whether the agent may hold another connection.
	Room func() Answer
}

// Answer is a step's, by whoever knows it.
type Answer struct {
	State    State
	Says, Do string
	Unseen   bool // with No: Lanyard does not see the request, so that nothing counts it
}

// Explain follows the request. It goes on where a step says no, so that everything that
// is in the way is told at once; the first no decides the outcome.
func Explain(ctx context.Context, q Question, w World) (Report, error) {
	t, err := parse(q)
	if err != nil {
		return Report{}, err
	}
	e := &explanation{ctx: ctx, world: w, target: t, subject: q.Subject, report: Report{URL: t.shown, Source: w.Source}}
	e.scheme()
	e.destination = w.Policy.Destination(t.host, t.port)
	if p := q.Subject.Process; p != nil {
		e.report.Process = describe(p)
	}
	e.reach()
	e.watched()
	if q.Subject.Process != nil {
		e.candidate()
		e.identify()
	}
	e.registered()
	if e.destination != nil {
		e.listed()
		e.rule()
		e.enforced()
		e.verified(q.Address)
		e.served()
		e.token()
		e.room()
	}
	e.report.Injected = !e.refused && e.settled()
	if e.report.Injected {
		e.report.Outcome = string(workload.Injected)
	}
	return e.report, nil
}

// target is where a request goes.
type target struct {
	shown  string // the URL without query
	scheme string
	host   string // as the registry has hosts
	port   uint16
	path   string
	method string
}

func parse(q Question) (target, error) {
	text := q.URL
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		var wrong *url.Error
		if errors.As(err, &wrong) {
			err = wrong.Err // without the URL, whose query may hold a secret
		}
		return target{}, fmt.Errorf("read URL: %w; write one like http://ledger.internal/", err)
	}
	t := target{scheme: strings.ToLower(u.Scheme), method: q.Method}
	t.host = strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if addr, err := netip.ParseAddr(t.host); err == nil {
		t.host = addr.Unmap().String()
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[t.scheme]
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if t.host == "" || (t.scheme != "http" && t.scheme != "https") || err != nil || n == 0 {
		return target{}, fmt.Errorf("read URL: %q is no URL with a host and http or https; write one like http://ledger.internal/", shownURL(u))
	}
	t.port, t.shown = uint16(n), shownURL(u)
	if t.path = u.EscapedPath(); t.path == "" {
		t.path = "/"
	}
	if t.method == "" {
		t.method = "GET"
	}
	return t, nil
}

// shownURL is the URL without what may be secret: user information and query.
func shownURL(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// explanation is a report that is being made.
type explanation struct {
	ctx     context.Context
	world   World
	target  target
	subject Subject
	report  Report

	destination *workload.Destination
	identity    *workload.Identity
	refused     bool // some step said no
}

func (e *explanation) add(name string, a Answer) {
	e.report.Steps = append(e.report.Steps, Step{Name: name, State: a.State, Says: a.Says, Do: a.Do})
}

func (e *explanation) ok(name, says string, args ...any) {
	e.add(name, Answer{State: OK, Says: fmt.Sprintf(says, args...)})
}

func (e *explanation) unknown(name, says, do string) {
	e.add(name, Answer{State: Unknown, Says: says, Do: do})
}

// no adds a step that says no; the first one's outcome is the request's.
func (e *explanation) no(name string, outcome workload.Outcome, says, do string) {
	e.add(name, Answer{State: No, Says: says, Do: do})
	if !e.refused {
		e.refused, e.report.Outcome = true, string(outcome)
	}
}

// answered adds a step that somebody else answers.
func (e *explanation) answered(name string, outcome workload.Outcome, a Answer) {
	if a.State == No {
		if a.Unseen {
			outcome = ""
		}
		e.no(name, outcome, a.Says, a.Do)
		return
	}
	e.add(name, a)
}

// settled reports whether enough was told for a yes: who it is, or that anybody may ask.
func (e *explanation) settled() bool {
	return e.destination != nil && (e.identity != nil || e.subject.Process == nil)
}
