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

// mountLooks is at how many of these times mount tables, which can be long, are looked at.
const mountLooks = 60

// watchHooks keeps health informed of the hooks and pins, and of other agents' that are
// dead, until ctx ends. The probe mends what it can, and logs what it found.
func (a *Agent) watchHooks(ctx context.Context) {
	tick := time.NewTicker(hooksInterval)
	defer tick.Stop()
	var outlives error
	for look := 0; ; look++ {
		if look%mountLooks == 0 {
			outlives = a.probe.Outlives()
		}
		if err := a.probe.Hooks(); err != nil {
			a.health.fail(partHooks, err.Error())
		} else {
			a.health.ok(partHooks)
		}
		a.tell(partPins, whyUnpinned(a.probe.Pins(), outlives))
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
func whyUnpinned(pins, outlives error) error {
	switch {
	case pins != nil:
		return fmt.Errorf("not pinned, so that the end of the agent would leave closed destinations open: %w", pins)
	case outlives != nil:
		return fmt.Errorf("the end of the agent's container may leave closed destinations open: %w", outlives)
	default:
		return nil
	}
}
