//go:build linux

package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/standing"
	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/token"
)

// The parts of health that are about tokens; that of an identity is partIdentity and
// its name.
const (
	partTokens    = "tokens"    // no identity has one
	partAuthority = "authority" // it does not answer
	partClock     = "clock"     // this host's, or the authority's, is wrong
	partIdentity  = "identity"
)

const (
	// warmUpFlights is how many identities are enrolled at once.
	warmUpFlights = 4
	// dueInterval is how often it is looked which tokens should be asked for.
	dueInterval = time.Second
)

// observeTokens makes the board of what the token cache obtains, and has metrics and
// health read it.
func (a *Agent) observeTokens() {
	a.recorder.ConnectionLimit(a.connections)
	a.board = standing.New(standing.Config{
		Held: func(r token.Request) (time.Time, bool) { return a.tokens.Held(r) }, Log: a.log,
	})
	a.recorder.ObserveIdentities(func() []telemetry.IdentityState { return identityStates(a.board.Report()) })
	a.health.lookAlso(func() []degradation { return tokenProblems(a.board.Report()) })
}

// keepTokens enrols every identity and obtains its first token, so that a ticket's
// trouble shows at start and the first request does not wait, and tries again what
// failed, until ctx ends. Failures are the board's to log.
func (a *Agent) keepTokens(ctx context.Context) {
	tick := time.NewTicker(dueInterval)
	defer tick.Stop()
	a.obtain(ctx, a.board.Due())
	warnWithout(a.log, a.board.Report())
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		a.obtain(ctx, a.board.Due())
	}
}

func (a *Agent) obtain(ctx context.Context, due []token.Request) {
	var g errgroup.Group
	g.SetLimit(warmUpFlights)
	for _, r := range due {
		g.Go(func() error {
			_, _ = a.tokens.Get(ctx, r) // the board hears of it
			return nil
		})
	}
	_ = g.Wait() // none returns an error
}

// warnWithout says once, after the start, who has no token.
func warnWithout(log *slog.Logger, all []standing.Identity) {
	var without []string
	for _, one := range all {
		if one.Without() {
			without = append(without, one.Name)
		}
	}
	if len(without) > 0 {
		log.Warn("ready, but not every identity has a token; /readyz says why", "identities", len(all), "without_token", strings.Join(without, ","))
	}
}

// audiences lists, for each identity, what destinations ask for that give it a token.
func audiences(policy *registry.Policy) map[string][]string {
	all := map[string][]string{}
	for _, identity := range policy.Identities() {
		all[identity.Name] = nil
	}
	for _, d := range policy.Destinations() {
		for _, identity := range d.Identities {
			if d.Enforce && !slices.Contains(all[identity], d.Audience) {
				all[identity] = append(all[identity], d.Audience)
			}
		}
	}
	return all
}

// identityStates is what the metrics say of the identities.
func identityStates(all []standing.Identity) []telemetry.IdentityState {
	states := make([]telemetry.IdentityState, 0, len(all))
	for _, one := range all {
		state := telemetry.IdentityState{Name: one.Name, HasToken: one.Tokens > 0, Expires: one.Expires, LastSuccess: one.LastSuccess}
		for _, f := range one.Failing {
			if !slices.Contains(state.Failing, string(f.Reason)) {
				state.Failing = append(state.Failing, string(f.Reason))
			}
		}
		states = append(states, state)
	}
	return states
}

// maxProblems bounds the identities that /readyz tells about; the rest is counted.
const maxProblems = 64

// tokenProblems says whose tokens cannot be had, and why: first what they have in
// common.
func tokenProblems(all []standing.Identity) []degradation {
	problems := common(all)
	more := 0
	for _, one := range all {
		for _, f := range one.Failing {
			if len(problems) >= maxProblems {
				more++
				continue
			}
			problems = append(problems, degradation{partIdentity + " " + one.Name, tokenProblem(f)})
		}
	}
	if more > 0 {
		problems = append(problems, degradation{partTokens, fmt.Sprintf("%d more cannot be had; the metric lanyard_identity_token_failing has all", more)})
	}
	return problems
}

// common says what is wrong with everybody's tokens.
func common(all []standing.Identity) (problems []degradation) {
	with, without := 0, 0
	first := map[token.Reason]*standing.Failure{}
	for i := range all {
		if all[i].Tokens > 0 {
			with++
		}
		if all[i].Without() {
			without++
		}
		for k := range all[i].Failing {
			if f := &all[i].Failing[k]; first[f.Reason] == nil {
				first[f.Reason] = f
			}
		}
	}
	if with == 0 && without > 0 {
		problems = append(problems, degradation{partTokens, fmt.Sprintf("no identity has a token; of %d, %d have asked in vain", len(all), without)})
	}
	if f := first[token.ReasonUnreachable]; f != nil {
		problems = append(problems, degradation{partAuthority, fmt.Sprintf("no usable answer since %s; tokens at hand are used until they expire: %v", when(f.Since), f.Err)})
	}
	if f := first[token.ReasonClock]; f != nil {
		problems = append(problems, degradation{partClock, f.Err.Error()})
	}
	return problems
}

func tokenProblem(f standing.Failure) string {
	what := "no token"
	if f.Audience != "" {
		what += fmt.Sprintf(" for audience %q", f.Audience)
	}
	if !f.Until.IsZero() {
		what = fmt.Sprintf("token for audience %q not renewed; the one at hand expires at %s", f.Audience, when(f.Until))
	}
	return fmt.Sprintf("%s (%s, since %s): %v", what, f.Reason, when(f.Since), f.Err)
}

func when(t time.Time) string { return t.UTC().Format(time.RFC3339) }
