//go:build linux

package agent

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lanyardhq/lanyard/internal/attribution"
	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// unknowable are the kinds of facts that each of what keeps us from seeing makes
// unknowable. A user, a group and the cgroup's number are the kernel's own word.
func unknowable(s attribution.Sight) map[workload.SelectorKind]error {
	wrong := map[workload.SelectorKind]error{}
	for _, lost := range []struct {
		why   error
		kinds []workload.SelectorKind
	}{
		{s.Cgroups, []workload.SelectorKind{workload.KindCgroup, workload.KindSystemdUnit}},
		{s.Executables, []workload.SelectorKind{workload.KindExecutable, workload.KindSHA256}},
		{s.Processes, workload.SelectorKinds()}, // nobody is attributed at all
	} {
		for _, kind := range lost.kinds {
			if lost.why != nil {
				wrong[kind] = lost.why
			}
		}
	}
	return wrong
}

// checkSight refuses a policy that cannot do here what it says.
func (a *Agent) checkSight(policy *registry.Policy) error {
	return errors.Join(checkFacts(policy, a.unknowable), checkAccounts(policy, attribution.ReadAccountsElsewhere("/proc")))
}

// checkFacts refuses a policy of which an identity could never match, or a destination
// never be verified, since its facts cannot be had where this agent runs: requests would
// leave without a token, in silence.
func checkFacts(policy *registry.Policy, wrong map[workload.SelectorKind]error) error {
	var errs []error
	for _, identity := range policy.Identities() {
		if kinds, why := lost(identity.Selector, wrong); why != nil {
			errs = append(errs, fmt.Errorf("identity %s can match no process here, since its %s cannot be known: %w", identity.Name, kinds, why))
		}
	}
	for _, destination := range policy.Destinations() {
		if kinds, why := lost(destination.ServedBy, wrong); why != nil {
			errs = append(errs, fmt.Errorf("destination %s gets no token here, since the %s in its served_by cannot be known: %w", destination.Name, kinds, why))
		}
	}
	return errors.Join(errs...)
}

// checkAccounts refuses a policy that names a user or group which is somebody else on the
// host than in the agent's container.
func checkAccounts(policy *registry.Policy, host attribution.AccountsElsewhere) error {
	var errs []error
	for _, identity := range policy.Identities() {
		for _, user := range identity.Selector.Values(workload.KindUser) {
			if err := host.CheckUser(user); err != nil {
				errs = append(errs, fmt.Errorf("identity %s: %w", identity.Name, err))
			}
		}
		for _, group := range identity.Selector.Values(workload.KindGroup) {
			if err := host.CheckGroup(group); err != nil {
				errs = append(errs, fmt.Errorf("identity %s: %w", identity.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// lost returns the kinds of a selector that cannot be known, and why the first cannot.
func lost(selector workload.Selector, wrong map[workload.SelectorKind]error) (kinds string, why error) {
	var names []string
	for _, kind := range selector.Kinds() {
		if err := wrong[kind]; err != nil {
			names = append(names, string(kind))
			if why == nil {
				why = err
			}
		}
	}
	return strings.Join(names, " and "), why
}
