package agent

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/standing"
	"github.com/lanyardhq/lanyard/internal/token"
)

func TestAudiences(t *testing.T) {
	config, _ := parse(t, `
identities:
  - {name: one, match: {exe: /bin/one, user: root}, source: {operator: {ticket_file: /t}}}
  - {name: two, match: {exe: /bin/two, user: root}, source: {operator: {ticket_file: /t}}}
  - {name: none, match: {exe: /bin/none, user: root}, source: {operator: {ticket_file: /t}}}
destinations:
  - {name: d0, hosts: [d0.test], ports: [80], audience: observed, identities: [one], enforce: false}
  - {name: d1, hosts: [d1.test], ports: [80], audience: a, identities: [one, two]}
  - {name: d2, hosts: [d2.test], ports: [80], audience: b, identities: [two]}
  - {name: d3, hosts: [d3.test], ports: [80], audience: a, identities: [two]}
`)
	got := audiences(config.Policy)
	if len(got) != 3 || !slices.Equal(got["one"], []string{"a"}) || !slices.Equal(got["two"], []string{"a", "b"}) || len(got["none"]) != 0 {
		t.Errorf("got %v", got)
	}
}

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func failing(reason token.Reason, err error) standing.Failure {
	return standing.Failure{Audience: "a", Reason: reason, Err: err, Since: t0, Failures: 3}
}

// said is what /readyz says of the tokens.
func said(all []standing.Identity) (status int, text string) {
	h := newHealth()
	h.ok(partAgent)
	h.lookAlso(func() []degradation { return tokenProblems(all) })
	return h.report()
}

func TestReadinessSaysWhoHasNoToken(t *testing.T) {
	away := failing(token.ReasonUnreachable, errors.New("dial 192.0.2.1: authority unreachable"))
	renewal := away
	renewal.Until = t0.Add(time.Hour)
	for _, c := range []struct {
		name string
		all  []standing.Identity
		want []string
	}{
		{"all is well", []standing.Identity{{Name: "one", Tokens: 1}, {Name: "idle"}}, nil},
		{"one of two", []standing.Identity{{Name: "one", Tokens: 1}, {Name: "two", Failing: []standing.Failure{failing(token.ReasonNotEnrolled, errors.New("no ticket\nat /t"))}}},
			[]string{`degraded: identity two: no token for audience "a" (not_enrolled, since 2026-01-02T03:04:05Z): no ticket at /t`}},
		{"all", []standing.Identity{{Name: "one", Failing: []standing.Failure{away}}, {Name: "two", Failing: []standing.Failure{away}}},
			[]string{"degraded: tokens: no identity has a token; of 2, 2 have", "degraded: authority: no usable answer since 2026-01-02T03:04:05Z", "degraded: identity one: ", "degraded: identity two: "}},
		{"a renewal", []standing.Identity{{Name: "one", Tokens: 1, Failing: []standing.Failure{renewal}}},
			[]string{"degraded: authority: ", `degraded: identity one: token for audience "a" not renewed; the one at hand expires at 2026-01-02T04:04:05Z (unreachable`}},
		{"the clock", []standing.Identity{{Name: "one", Failing: []standing.Failure{failing(token.ReasonClock, errors.New("set the one that is wrong"))}}},
			[]string{"degraded: tokens: ", "degraded: clock: set the one that is wrong", "degraded: identity one: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, text := said(c.all)
			lines := strings.Split(text, "\n")
			if status != 200 || lines[0] != "ok" || len(lines) != 1+len(c.want) {
				t.Fatalf("%d, %d lines:\n%s", status, len(lines), text)
			}
			for i, want := range c.want {
				if !strings.HasPrefix(lines[1+i], want) {
					t.Errorf("line %q, want %q", lines[1+i], want)
				}
			}
		})
	}
	var crowd []standing.Identity
	for i := range 1000 {
		crowd = append(crowd, standing.Identity{Name: fmt.Sprint("i", i), Failing: []standing.Failure{away}})
	}
	if _, text := said(crowd); strings.Count(text, "\n") != maxProblems+1 || !strings.Contains(text, "degraded: tokens: 938 more") {
		t.Errorf("of 1000 identities:\n%s", text)
	}
}

func TestStartNamesWhoHasNoToken(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	warnWithout(logger, []standing.Identity{{Name: "one", Tokens: 1}, {Name: "idle"}})
	if log.Len() > 0 {
		t.Errorf("warned of nothing: %s", &log)
	}
	broken := []standing.Failure{failing(token.ReasonNotEnrolled, errors.New("no ticket"))}
	warnWithout(logger, []standing.Identity{{Name: "one", Tokens: 1}, {Name: "two", Failing: broken}, {Name: "three", Failing: broken}})
	if !strings.Contains(log.String(), "identities=3 without_token=two,three") {
		t.Errorf("warned %s", &log)
	}
}
