//go:build linux

package agent

import (
	"context"
	"maps"

	"golang.org/x/sync/errgroup"

	"github.com/lanyardhq/lanyard/internal/attribution"
	"github.com/lanyardhq/lanyard/internal/localapi"
	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/token/operator"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// warmUpFlights is how many identities are enrolled at once at start.
const warmUpFlights = 4

// reload reads the configuration anew and applies it whole, or says why not and
// leaves everything as it is.
func (a *Agent) reload() {
	config, err := a.loadConfig()
	if err == nil {
		err = a.apply(config)
	}
	if err != nil {
		a.log.Error("configuration not reloaded; the former one stays in force", "error", err)
		return
	}
	a.log.Info("configuration reloaded")
}

// apply puts a configuration in force. The kernel watches for the old and the
// new one while policy and sources change hands.
func (a *Agent) apply(config *Config) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	next, err := nextSources(a.sources, a.sourceSettings(config))
	if err != nil {
		return err
	}
	dropped, live := a.sources, false
	err = a.probe.Apply(config.Policy.Watch(), func() {
		live = true
		a.goLive(config, next)
	})
	if err != nil && !live {
		return err
	}
	if err != nil {
		a.log.Error("the configuration is in force, but the kernel watches more than it needs", "error", err)
	}
	a.processes.forgetCgroups()
	a.resolver.Keep(namesToKeep(config.Policy.Destinations()))
	a.closeKnown()
	return dropped.closeDropped(next)
}

// goLive makes policy and sources change hands. In between, a request decided by
// either policy finds its facts and the source of its token.
func (a *Agent) goLive(config *Config, next sourceSet) {
	both := a.sources.forCache()
	maps.Copy(both, next.forCache())
	facts := factsFor(config.Policy)
	a.attributor.SetFacts(attribution.Facts{
		SHA256:      facts.SHA256 || a.facts.SHA256,
		CommandLine: facts.CommandLine || a.facts.CommandLine,
	})
	a.tokens.Update(both)
	a.registry.Swap(config.Policy)
	a.tokens.Update(next.forCache())
	a.attributor.SetFacts(facts)
	a.sources, a.facts, a.localName = next, facts, config.LocalAPIIdentity
}

func factsFor(policy *registry.Policy) attribution.Facts {
	return attribution.Facts{
		SHA256:      policy.Needs(workload.KindSHA256),
		CommandLine: policy.Needs(workload.KindCommandLine),
	}
}

// warmUp enrols every identity and obtains its first token, so that a ticket's
// trouble shows at start and the first request does not wait. Failures are the
// cache's to log and to repeat.
func (a *Agent) warmUp(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(warmUpFlights)
	for identity, audience := range firstAudiences(a.registry.Current().Destinations()) {
		g.Go(func() error {
			_, _ = a.tokens.Get(ctx, token.Request{Identity: identity, Audience: audience})
			return nil
		})
	}
	return g.Wait()
}

// renewKeys renews the keys of the identities' workloads until ctx ends.
func (a *Agent) renewKeys(ctx context.Context) {
	operator.Renewer{MaxAge: a.settings.KeyMaxAge, Clients: a.clients, Log: a.log}.Run(ctx)
}

// clients returns the sources in force.
func (a *Agent) clients() []*operator.Client {
	a.mu.Lock()
	defer a.mu.Unlock()
	clients := make([]*operator.Client, 0, len(a.sources))
	for _, source := range a.sources {
		clients = append(clients, source.client)
	}
	return clients
}

// firstAudiences names one audience for each identity that gets tokens.
func firstAudiences(destinations []*workload.Destination) map[string]string {
	first := map[string]string{}
	for _, d := range destinations {
		if !d.Enforce {
			continue
		}
		for _, identity := range d.Identities {
			if _, ok := first[identity]; !ok {
				first[identity] = d.Audience
			}
		}
	}
	return first
}

func (a *Agent) localIdentity() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.localName
}

// workload returns the workload of an identity that has a source.
func (a *Agent) workload(identity string) (localapi.Workload, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	source, ok := a.sources[identity]
	return source.client, ok
}
