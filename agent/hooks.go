//go:build linux

package agent

import (
	"context"
	"fmt"
	"time"
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
		if err := a.probe.Pins(); err != nil {
			a.health.degrade(partPins, fmt.Sprintf("not pinned, so that an agent that ends, or crashes, would leave closed destinations open: %v", err))
		} else {
			a.health.ok(partPins)
		}
		if err := a.probe.Events(); err != nil {
			a.health.degrade(partEvents, err.Error())
		} else {
			a.health.ok(partEvents)
		}
		if err := a.probe.DeadAgents(); err != nil {
			a.health.degrade(partDeadAgents, err.Error())
		} else {
			a.health.ok(partDeadAgents)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
