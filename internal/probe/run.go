//go:build linux

package probe

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

const (
	heartbeatInterval = time.Second
	heartbeatLimit    = 5 * heartbeatInterval // HEARTBEAT_LIMIT_NS
	hooksInterval     = time.Second
)

// Run keeps the kernel half alive until ctx ends: it beats, keeps the hooks attached,
// looks for those of dead agents, keeps what the kernel can tell for certain up to date,
// and hands the ends of images to ended. Without it the hooks soon hold the agent for
// hung, and the fail policy applies.
func (p *Probe) Run(ctx context.Context, ended func(workload.Image)) error {
	if err := p.beat(); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return every(ctx, heartbeatInterval, p.beat) })
	g.Go(func() error { return p.keepLearning(ctx) })
	g.Go(func() error { return every(ctx, hooksInterval, p.hookSet.mend) })
	g.Go(func() error { return every(ctx, deadAgentsInterval, func() error { p.deadAgents.look(); return nil }) })
	g.Go(func() error { p.keepReading(ctx, ended); return nil })
	g.Go(func() error { <-ctx.Done(); p.wakeEvents(); return nil })
	return g.Wait()
}

func every(ctx context.Context, interval time.Duration, do func() error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := do(); err != nil {
				return err
			}
		}
	}
}

// Beats reports whether the hooks hold the agent for alive.
func (p *Probe) Beats() bool {
	return readClock(unix.CLOCK_MONOTONIC) < readWord(p.heartbeat, 0)+uint64(heartbeatLimit)
}

// beat shows life through shared memory, by the clock that the hooks read.
func (p *Probe) beat() error {
	writeWord(p.heartbeat, 0, readClock(unix.CLOCK_MONOTONIC))
	return nil
}
