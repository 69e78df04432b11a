//go:build linux

package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/lanyardhq/lanyard/internal/probe"
)

const (
	// partHooks is the part of health that is the hooks: attached where they belong, and
	// seeing connects.
	partHooks = "hooks"
	// partPins is what a crash of the agent would leave behind: hooks and maps that hold
	// the fail policy, and that the next agent takes over. Nobody needs them before.
	partPins = "pins"
	// partEvents is how the agent hears of ends of processes.
	partEvents = "process events"
	// partDeadAgents is what agents that are dead have left beside this one: their hooks
	// refuse what this one would let in.
	partDeadAgents = "dead agents"
)

// hooksInterval is how often health hears of the hooks.
const hooksInterval = time.Second

// watchHooks keeps health informed of the hooks and pins, and of other agents' that are
// dead, until ctx ends. The probe mends what it can, and logs what it found.
func (a *Agent) watchHooks(ctx context.Context) {
	tick := time.NewTicker(hooksInterval)
	defer tick.Stop()
	for {
		if err := a.probe.Hooks(); err != nil {
			a.health.fail(partHooks, err.Error())
		} else {
			a.health.ok(partHooks)
		}
		a.tell(partPins, whyUnpinned(a.probe))
		a.tell(partEvents, a.probe.Events())
		a.tell(partDeadAgents, a.probe.DeadAgents())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tell keeps health informed of a part that the data path does without.
func (a *Agent) tell(part string, wrong error) {
	if wrong != nil {
		a.health.degrade(part, wrong.Error())
		return
	}
	a.health.ok(part)
}

// whyUnpinned says why the end of the agent, however it ends, would leave closed
// destinations open; nil if it would not.
func whyUnpinned(p *probe.Probe) error {
	if err := p.Pins(); err != nil {
		return fmt.Errorf("not pinned, so that the end of the agent would leave closed destinations open: %w", err)
	}
	if err := p.Outlives(); err != nil {
		return fmt.Errorf("the end of the agent's container may leave closed destinations open: %w", err)
	}
	return nil
}
