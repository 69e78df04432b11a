//go:build linux

package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/test/lab"
)

// twoConfig registers root's curl and root's wget as two identities.
const twoConfig = `
identities:
  - name: by-curl
    match: {exe: CURL, user: root}
    source: {operator: {ticket_file: FOLDER/curl-ticket}}
  - name: by-wget
    match: {exe: WGET, user: root}
    source: {operator: {ticket_file: FOLDER/wget-ticket}}
destinations:
  - name: ledger
    hosts: [ledger.test]
    ports: [8080]
    audience: http://ledger.test:8080
    identities: [by-curl, by-wget]
`

var bothIdentities = []string{"by-curl", "by-wget"}

// leftOut is what a line says of those that were not logged.
var leftOut = regexp.MustCompile(`left_out=(\d+)`)

// told counts the requests without a token that the log tells of one identity.
func (w *world) told(identity string) (lines, requests int) {
	for line := range strings.Lines(w.agent.Output()) {
		if !strings.Contains(line, `"a request gets no token"`) || !strings.Contains(line, "identity="+identity+" ") {
			continue
		}
		lines++
		requests++
		if m := leftOut.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1]) // digits
			requests += n
		}
	}
	return lines, requests
}

// TestTwoBrokenTickets: whose tokens cannot be had is said in the log, in /readyz and in
// the metrics, for each, once; so is that they are back.
func TestTwoBrokenTickets(t *testing.T) {
	const each = 65
	w := newWorld(t)
	w.startAuthority()
	w.startLedger()
	w.write("curl-ticket", "wrong")
	w.write("wget-ticket", "wrong, too")
	curl, wget := curlCommand(t), realClient(t, "wget").Command(ledgerURL)
	config := strings.NewReplacer("CURL", realClient(t, "curl").Executable(t), "WGET", realClient(t, "wget").Executable(t)).Replace(twoConfig)
	w.startAgent(w.config(config))
	w.agent.waitForLog(t, `without_token=by-curl,by-wget`)

	started := time.Now()
	ask := func(times int) {
		for range times - 1 {
			curl, wget = append(curl, ledgerURL), append(wget, ledgerURL)
		}
		_, _ = w.run(append(curl, ledgerURL)...) // refused, as the outcomes tell
		_, _ = w.run(wget...)
		curl, wget = curlCommand(t), realClient(t, "wget").Command(ledgerURL)
	}
	ask(each)
	w.wantOutcomeOf("by-curl", "token_unavailable", each)
	w.wantOutcomeOf("by-wget", "token_unavailable", each)
	most := 1 + int(time.Since(started)/(10*time.Second))
	for _, identity := range bothIdentities {
		if lines, _ := w.told(identity); lines < 1 || lines > most {
			t.Errorf("%d requests of %s without a token are told in %d lines, want 1 to %d", each, identity, lines, most)
		}
		if lines := strings.Count(w.agent.Output(), `"an identity has no token" identity=`+identity+" "); lines != 1 {
			t.Errorf("that %s has no token is told in %d lines, want 1", identity, lines)
		}
	}
	w.wantDegraded("degraded: tokens: no identity has a token", "degraded: identity by-curl: no token for audience",
		"degraded: identity by-wget: no token for audience", "(not_enrolled, since ")
	w.wantMetric("lanyard_identities", 2)
	for _, identity := range bothIdentities {
		w.wantMetric(`lanyard_identity_token_available{identity="`+identity+`"}`, 0)
		w.wantMetric(`lanyard_identity_token_failing{identity="`+identity+`",reason="not_enrolled"}`, 1)
	}

	// The next line of the kind says how many were left out.
	lab.Eventually(t, waitLimit, func() error {
		ask(1)
		for _, identity := range bothIdentities {
			_, told := w.told(identity)
			if counted := w.metric(`lanyard_requests_total{identity="` + identity + `",outcome="token_unavailable"}`); told < each || uint64(told) > counted {
				return fmt.Errorf("of %s, the log tells of %d requests, the metric of %d", identity, told, counted)
			}
		}
		return nil
	})

	w.createTicket("curl-ticket")
	w.createTicket("wget-ticket")
	lab.Eventually(t, waitLimit, func() error {
		ask(1)
		if _, body, err := w.get(metricsURL + "/readyz"); err != nil || body != "ok\n" {
			return fmt.Errorf("/readyz still says (%v):\n%s", err, body)
		}
		return nil
	})
	for _, identity := range bothIdentities {
		if lines := strings.Count(w.agent.Output(), `"an identity has a token again" identity=`+identity+" "); lines != 1 {
			t.Errorf("that %s has a token again is told in %d lines, want 1", identity, lines)
		}
		w.wantMetric(`lanyard_identity_token_available{identity="`+identity+`"}`, 1)
		if now, expires := uint64(time.Now().Unix()), w.metric(`lanyard_identity_token_expiry_timestamp_seconds{identity="`+identity+`"}`); expires <= now {
			t.Errorf("the token of %s expires at %d, now is %d", identity, expires, now)
		}
	}
}

// wantOutcomeOf is wantOutcome for one identity.
func (w *world) wantOutcomeOf(identity, outcome string, count uint64) {
	w.t.Helper()
	lab.Eventually(w.t, waitLimit, func() error {
		if got := w.metric(`lanyard_requests_total{identity="` + identity + `",outcome="` + outcome + `"}`); got != count {
			return fmt.Errorf("%d requests of %s ended as %s, want %d", got, identity, outcome, count)
		}
		return nil
	})
}

// wantDegraded fails the test unless the agent says that it does its work, and all of
// these.
func (w *world) wantDegraded(says ...string) {
	w.t.Helper()
	status, body, err := w.get(metricsURL + "/readyz")
	if err != nil || status != 200 {
		w.t.Fatalf("/readyz: %d, %v\n%s", status, err, body)
	}
	missing := slices.DeleteFunc(slices.Clone(says), func(text string) bool { return strings.Contains(body, text) })
	if len(missing) > 0 {
		w.t.Errorf("/readyz does not say %q but\n%s", missing, body)
	}
}

// wantMetric fails the test unless the series is there and has this value.
func (w *world) wantMetric(series string, want uint64) {
	w.t.Helper()
	if got, found := w.findMetric(series); !found || got != want {
		w.t.Errorf("%s is %d (there: %v), want %d", series, got, found, want)
	}
}
