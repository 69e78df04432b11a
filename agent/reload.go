//go:build linux

package agent

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/lanyardhq/lanyard/injector"
	"github.com/lanyardhq/lanyard/internal/localapi"
	"github.com/lanyardhq/lanyard/internal/probe"
	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/token/operator"
)

// partConfiguration is the part of health that is a configuration that was refused.
const partConfiguration = "configuration"

// reload reads the configuration anew and applies it whole, or says why not and
// leaves everything as it is.
func (a *Agent) reload() {
	a.report(a.manager.Reloading())
	status := "the last configuration was refused; in force: "
	if err := a.loadAndApply(); err != nil {
		a.recorder.ConfigRefused()
		a.health.degrade(partConfiguration, fmt.Sprintf("not reloaded at %s; the former one stays in force: %v", when(time.Now()), err))
		a.log.Error("configuration not reloaded; the former one stays in force", "error", err)
	} else {
		a.health.ok(partConfiguration)
		a.log.Info("configuration reloaded")
		status = ""
	}
	a.report(a.manager.Ready(status + a.inForce()))
}

func (a *Agent) loadAndApply() error {
	config, err := a.loadConfig()
	if err != nil {
		return err
	}
	if err := a.refuseEmptied(config); err != nil {
		return err
	}
	if err := a.checkSight(config.Policy); err != nil {
		return err
	}
	return a.apply(config)
}

// inForce says in a few words what the agent goes by.
func (a *Agent) inForce() string {
	policy := a.registry.Current()
	return fmt.Sprintf("%d identities, %d destinations", len(policy.Identities()), len(policy.Destinations()))
}

// report logs what the service manager could not be told.
func (a *Agent) report(err error) {
	if err != nil {
		a.log.Warn("the service manager does not know how the agent is", "error", err)
	}
}

// refuseEmptied refuses a configuration that takes everything away: mostly it is a file
// that is being written, and identities would be without tokens, and destinations open,
// until it is read again.
func (a *Agent) refuseEmptied(config *Config) error {
	if !isEmpty(config.Policy) || isEmpty(a.registry.Current()) {
		return nil
	}
	return fmt.Errorf("read configuration: %s declares no identity and no destination any more; write it whole under another name and rename it into place; to do without any, restart the agent", a.settings.Config)
}

func isEmpty(policy *registry.Policy) bool {
	return len(policy.Identities()) == 0 && len(policy.Destinations()) == 0
}

// prepare makes ready for the first configuration what needs no kernel half.
func (a *Agent) prepare(config *Config) (err error) {
	if err := probe.CheckWatch(config.Policy.Watch()); err != nil {
		return err
	}
	a.sources, err = nextSources(nil, a.sourceSettings(config))
	return err
}

// putInForce puts the first configuration in force everywhere but in the kernel, which is
// told when we answer.
func (a *Agent) putInForce(config *Config) {
	a.goLive(config, a.sources)
	a.resolver.Keep(namesToKeep(config.Policy.Destinations()))
}

// apply puts a configuration in force; an error is that it is not. The kernel watches
// for the old and the new one while policy and sources change hands. Only reloads, of
// which there is one at a time, change them: mu is not held while the kernel is told or
// a source is closed, which callers of the local API would wait for.
func (a *Agent) apply(config *Config) error {
	former := a.sources
	next, err := nextSources(former, a.sourceSettings(config))
	if err != nil {
		return err
	}
	live := false
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
	a.before.want()
	if err := former.closeDropped(next); err != nil {
		a.log.Warn("the configuration is in force, but the state folder of an identity that it dropped was not closed", "error", err)
	}
	return nil
}

// goLive makes policy and sources change hands. In between, a request decided by
// either policy finds its facts and the source of its token.
func (a *Agent) goLive(config *Config, next sourceSet) {
	former, both := a.sources, a.sources.forCache()
	maps.Copy(both, next.forCache())
	a.attributor.SetInterest(interestOf(a.registry.Current(), config.Policy))
	a.tokens.Update(both)
	a.registry.Swap(config.Policy)
	a.injector.SetLimits(injectorLimits(config.Limits))
	a.tokens.Update(next.forCache())
	a.board.Configure(audiences(config.Policy), func(identity string) bool {
		return former[identity].client != next[identity].client
	})
	a.attributor.SetInterest(interestOf(config.Policy))
	a.recorder.ConfigLoaded(time.Now())
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sources, a.localName = next, config.LocalAPIIdentity
}

// injectorLimits are the limits as the injector takes them, which keeps the number of
// its connections.
func injectorLimits(l Limits) injector.Limits {
	return injector.Limits{
		HeadBytes: l.HeadBytes, HeadFields: l.HeadFields, Head: l.HeadTime, Decision: l.Decision,
		Dial: l.Dial, Stall: l.Pause, Idle: l.Idle, Relay: l.TunnelIdle,
	}
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
