//go:build linux

package agent

import (
	"context"
	"log/slog"
	"sync"

	"github.com/lanyardhq/lanyard/injector"
	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// maxLearnt bounds the memory of cgroups that the kernel has been told about.
const maxLearnt = 16384

// attributor is package attribution's part.
type attributor interface {
	Attribute(ctx context.Context, f workload.Flow) (*workload.Process, error)
	Current(i workload.Image) bool
}

// processes attributes flows, and on the way teaches the kernel which
// identities the callers of a cgroup can have: most of the host's processes are
// bystanders from then on.
type processes struct {
	attributor
	log   *slog.Logger
	learn func(id uint64, path string) error

	mu     sync.Mutex
	learnt map[uint64]struct{} // cgroups told since the last reload
}

func (p *processes) Attribute(ctx context.Context, f workload.Flow) (*workload.Process, error) {
	process, err := p.attributor.Attribute(ctx, f)
	if err != nil {
		return nil, err
	}
	if process.Cgroup != "" && p.unlearnt(f.CgroupID) {
		if err := p.learn(f.CgroupID, process.Cgroup); err != nil {
			p.log.Warn("cannot teach the kernel a cgroup; its processes stay candidates", "error", err)
		}
	}
	return process, nil
}

func (p *processes) unlearnt(cgroup uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.learnt[cgroup]; ok {
		return false
	}
	if len(p.learnt) >= maxLearnt {
		clear(p.learnt)
	}
	p.learnt[cgroup] = struct{}{}
	return true
}

// forgetCgroups is called when a reload made the kernel forget them.
func (p *processes) forgetCgroups() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.learnt = map[uint64]struct{}{}
}

// policies shows the registry to the injector.
type policies struct{ registry *registry.Registry }

func (p policies) Current() injector.Policy { return p.registry.Current() }

// localCallers identifies callers of the local API by the same rules.
type localCallers struct {
	processes *processes
	registry  *registry.Registry
}

func (c localCallers) Identify(ctx context.Context, f workload.Flow) (*workload.Identity, error) {
	process, err := c.processes.Attribute(ctx, f)
	if err != nil {
		return nil, err
	}
	if !c.processes.Current(f.Image) {
		return nil, workload.ErrNoFlow
	}
	return c.registry.Current().Identify(process)
}
