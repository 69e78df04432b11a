package injector

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// judge says what is wrong with a conversation, as seen from outside: the client's
// bytes, the destination's bytes read strictly, and what telemetry was told.
func judge(t *talk) error {
	if t.lost != nil {
		return fmt.Errorf("the client lost the connection: %w", t.lost)
	}
	if isRelayed(t) {
		return judgeRelayed(t)
	}
	if len(t.sent) > 0 && !httpLine.MatchString(t.sent) {
		return fmt.Errorf("took for HTTP what does not begin so")
	}
	if err := judgeOutOfStep(t); err != nil {
		return err
	}
	if isDoubtful(t) {
		return judgeDoubtful(t)
	}
	if t.odd != nil {
		return fmt.Errorf("forwarded what is no request: %w", t.odd)
	}
	if err := judgeRecords(t); err != nil {
		return err
	}
	if err := judgeCount(t); err != nil {
		return err
	}
	rest := t.sent[len(emptyLine.FindString(t.sent)):]
	for _, m := range t.messages {
		var err error
		if rest, err = judgeBytes(m, rest); err != nil {
			return err
		}
	}
	if err := judgeRest(t, rest); err != nil {
		return err
	}
	return judgeAnswers(t)
}

// isRelayed reports whether the injector believes that it relayed the connection.
func isRelayed(t *talk) bool {
	return len(t.uses) == 1 && (t.uses[0].Outcome == workload.NotHTTP || t.uses[0].Outcome == workload.NoIdentity && t.uses[0].Method == "")
}

// refusedAt returns the number of the record of what was answered here, or -1.
func refusedAt(t *talk) int { return slices.IndexFunc(t.uses, answeredHere) }

func isRefused(t *talk) bool { return refusedAt(t) >= 0 }

func isBadRequest(t *talk) bool {
	return isRefused(t) && t.uses[refusedAt(t)].Outcome == workload.BadRequest
}

func answeredHere(u telemetry.Use) bool {
	return u.Outcome == workload.BadRequest || u.Outcome == workload.Refused
}

// httpLine is how a connection begins that is looked into.
var httpLine = regexp.MustCompile("^(?:\r?\n){0,8}[!#$%&'*+.^_`|~0-9A-Za-z-]+ [^\\x00-\\x20\\x7f]+ HTTP/1\\.[0-9]")

// emptyLine is what may come before a connection's first request.
var emptyLine = regexp.MustCompile("^(?:\r?\n){0,8}")

func judgeRelayed(t *talk) error {
	switch {
	case httpLine.MatchString(t.sent):
		return fmt.Errorf("relayed what begins as HTTP")
	case t.arrived != t.sent:
		return fmt.Errorf("relayed %q", t.arrived)
	case t.received != strings.Join(t.answers, ""):
		return fmt.Errorf("the client received %q", t.received)
	}
	return nil
}

// judgeRecords holds the records against the requests that arrived: there is one
// for each, in their order, and what was refused ends the conversation.
func judgeRecords(t *talk) error {
	left := t.messages
	for i, u := range t.uses {
		if u.Outcome == workload.NotSent {
			continue // where the one before it ended too slowly, it is recorded first
		}
		if answeredHere(u) {
			if len(left) > 0 && !left[0].whole && u.Outcome == workload.BadRequest {
				left = left[1:] // its body turned out to be malformed
			}
			break
		}
		if len(left) == 0 {
			return fmt.Errorf("record %d is %s, and nothing arrived", i, u.Outcome)
		}
		if err := judgeRecord(left[0], u); err != nil {
			return err
		}
		left = left[1:]
	}
	if len(left) > 0 {
		return fmt.Errorf("%d requests arrived that have no record: %q", len(left), left[0].raw)
	}
	return nil
}

func judgeRecord(m message, u telemetry.Use) error {
	switch want := m.due(); {
	case u.Outcome != want:
		return fmt.Errorf("the record of %s %s is %s, want %s", m.method, m.host, u.Outcome, want)
	case u.Method != m.method && len(m.method) <= 32:
		return fmt.Errorf("the record of %s is of method %q", m.method, u.Method)
	case (m.whole || m.early) != (u.Reason == nil) && u.Outcome != workload.DestinationUnverified:
		return fmt.Errorf("the record of %q has reason %v", m.raw, u.Reason)
	}
	return nil
}

// judgeCount holds the requests that the client sent whole, as the strict reader sees
// them, against the records: there is one of each, and one more of what follows them and
// is no whole request. What follows a malformed request, or one whose body was not
// wanted, is nobody's.
func judgeCount(t *talk) error {
	wholes, rest, until := 0, t.sent[len(emptyLine.FindString(t.sent)):], len(t.sent)
	if isBadRequest(t) {
		until = len(t.uses) - 1
	} else if n := len(t.messages); n > 0 && t.messages[n-1].early && !t.messages[n-1].whole {
		until = n
	}
	for wholes < until {
		m, err := readMessage(strings.TrimPrefix(rest, "\r\n"))
		if err != nil {
			break
		}
		wholes++
		if m.last {
			rest = ""
			break
		}
		rest = strings.TrimPrefix(rest, "\r\n")[len(m.raw):]
	}
	records := len(t.uses)
	if records == wholes+1 && strings.TrimPrefix(rest, "\r\n") != "" {
		records--
	}
	if records != wholes {
		return fmt.Errorf("%d requests were sent whole, the records are %v", wholes, outcomes(t.uses))
	}
	return nil
}

func outcomes(uses []telemetry.Use) (all []workload.Outcome) {
	for _, u := range uses {
		all = append(all, u.Outcome)
	}
	return all
}

// due is the outcome that a forwarded request has in the world of the corpus.
func (m *message) due() workload.Outcome {
	scheme, authority := "http", m.host
	if before, after, ok := strings.Cut(m.target, "://"); ok && m.target[0] != '/' {
		scheme = before
		authority = after[:strings.IndexAny(after+"/", "/?#")]
	}
	name, port, _ := strings.Cut(authority, ":")
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	registered := name == "ledger.internal" || name == "refusing.internal"
	echoed := strings.EqualFold(m.method, "TRACE") || strings.EqualFold(m.method, "TRACK")
	switch {
	case m.method == "CONNECT":
		return workload.Untouched
	case !registered:
		return workload.NoDestination
	case echoed, !strings.EqualFold(scheme, "http"):
		return workload.Untouched
	case strings.TrimLeft(port, "0") != "80" && port != "":
		return workload.DestinationUnverified
	}
	return workload.Injected
}

// judgeBytes holds one request that arrived against the bytes that the client sent,
// and returns those after it.
func judgeBytes(m message, sent string) (rest string, err error) {
	rest = strings.TrimPrefix(sent, "\r\n") // one empty line is dropped
	if m.due() != workload.Injected {
		if strings.Contains(m.raw, theToken) {
			return "", fmt.Errorf("a token in %q", m.raw)
		}
		if m.due() == workload.Untouched && m.method != "CONNECT" {
			head, after, _ := strings.Cut(rest, "\r\n\r\n")
			lines := strings.Split(head, "\r\n")
			rest = strings.Join(append(lines[:1], withoutH2C(lines[1:])...), "\r\n") + "\r\n\r\n" + after
		}
		after, found := strings.CutPrefix(rest, m.raw)
		if !found {
			return "", fmt.Errorf("%q arrived for %q", m.raw, rest)
		}
		return after, nil
	}
	head, after, found := strings.Cut(rest, "\r\n\r\n")
	if !found {
		return "", fmt.Errorf("%q arrived for %q", m.raw, rest)
	}
	lines := strings.Split(head, "\r\n")
	if strings.Contains(strings.ToLower(m.host), "refusing") && slices.ContainsFunc(lines[1:], isCredential) {
		return "", fmt.Errorf("%q arrived with its credentials replaced", m.raw)
	}
	if want := injectedLines(withoutH2C(lines[1:])); !slices.Equal(m.lines, want) {
		return "", fmt.Errorf("field lines %q, want %q", m.lines, want)
	}
	if start, _, _ := strings.Cut(m.raw, "\r\n"); start != lines[0] {
		return "", fmt.Errorf("request line %q, want %q", start, lines[0])
	}
	after, found = strings.CutPrefix(after, m.body)
	if !found || strings.Contains(m.body, theToken) {
		return "", fmt.Errorf("body %q arrived for %q", m.body, after)
	}
	return after, nil
}

// injectedLines are the client's field lines with the token: in the place of the
// first Authorization, without the others, or else at the end.
func injectedLines(lines []string) (want []string) {
	token := strings.TrimSuffix(bearer, "\r\n")
	placed := false
	for _, line := range lines {
		if !isCredential(line) {
			want = append(want, line)
		} else if !placed {
			want = append(want, token)
			placed = true
		}
	}
	if !placed {
		want = append(want, token)
	}
	return want
}

// judgeRest says whether the injector may have kept what the client sent last.
func judgeRest(t *talk, rest string) error {
	if isRefused(t) || t.early != nil || rest == "" || rest == "\r\n" {
		return nil
	}
	if n := len(t.messages); n > 0 && t.messages[n-1].last {
		return nil
	}
	return fmt.Errorf("nothing was said about %q", rest)
}

// judgeAnswers holds what the client received against what the destination sent.
func judgeAnswers(t *talk) error {
	own, found := strings.CutPrefix(t.received, strings.Join(t.answers, ""))
	if !found {
		return fmt.Errorf("the client received %q, the destination sent %q", t.received, t.answers)
	}
	if !isRefused(t) {
		if own != "" {
			return fmt.Errorf("the client received %q of our own", own)
		}
		return nil
	}
	return judgeProblem(own, t.uses[refusedAt(t)])
}

// judgeProblem holds an answer of our own against its record: it is one message
// and says what telemetry says.
func judgeProblem(answer string, u telemetry.Use) error {
	head, body, _ := strings.Cut(answer, "\r\n\r\n")
	_, length, _ := strings.Cut(head, "\r\nContent-Length: ")
	switch {
	case !strings.HasPrefix(head, fmt.Sprintf("HTTP/1.1 %d ", u.Status)),
		!strings.Contains(head, "\r\nContent-Type: application/problem+json\r\n"), strings.Contains(answer, theToken):
		return fmt.Errorf("the client received %q for %s with %d", answer, u.Outcome, u.Status)
	case u.Method == "HEAD" && body == "":
		return nil
	case length != strconv.Itoa(len(body)), !strings.Contains(body, `"outcome":"`+string(u.Outcome)+`"`):
		return fmt.Errorf("the client received %q for %s", answer, u.Outcome)
	}
	return nil
}

// tally counts conversations and keeps the first failures of them.
type tally struct {
	mu                                             sync.Mutex
	cases, refused, relayed, forwarded, exceptions int
	malformed                                      int // of the refused
	failures                                       int
}

const maxFailures = 20

func (c *tally) count(t *talk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cases++
	switch {
	case isRelayed(t):
		c.relayed++
	case isRefused(t):
		c.refused++
		if isBadRequest(t) {
			c.malformed++
		}
	default:
		c.forwarded++
	}
}

func (c *tally) failed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failures
}

func (c *tally) fail(t *testing.T, format string, args ...any) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failures++; c.failures <= maxFailures {
		t.Errorf(format, args...)
	}
}

func (c *tally) print(t *testing.T, corpus string) {
	t.Helper()
	t.Logf("counts: %s: %d cases, %d refused, %d relayed, %d forwarded, %d exceptions",
		corpus, c.cases, c.refused, c.relayed, c.forwarded, c.exceptions)
}

// corpusWorld is a world with a recorder, in which the caller is billing, and two
// destinations are registered: one replaces credentials, one refuses them. What is no
// HTTP is relayed.
func corpusWorld(t *testing.T) *recorder {
	t.Helper()
	var r *recorder
	newWorld(t, record(&r), func(w *world, _ *Config) {
		refusing := ledger(refuse, open)
		refusing.Name, refusing.Hosts = "refusing", []string{"refusing.internal"}
		w.setPolicy(&policy{identity: billing, destinations: []*workload.Destination{ledger(open), refusing}})
	})
	return r
}
