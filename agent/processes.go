//go:build linux

package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/lanyardhq/lanyard/injector"
	"github.com/lanyardhq/lanyard/internal/logbudget"
	"github.com/lanyardhq/lanyard/internal/registry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

const (
	// maxLearnt bounds the memory of cgroups that the kernel has been told about.
	maxLearnt = 16384
	// tellAgain is how soon the kernel is told of a cgroup again: many others may have
	// pushed it out.
	tellAgain = 10 * time.Second
)

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
	log    *slog.Logger
	budget *logbudget.Budget // of warnings: whoever makes a cgroup may cause one
	learn  func(id uint64, path string) error
	// cgroupPath finds a cgroup by its id.
	cgroupPath func(id uint64) (string, error)

	mu     sync.Mutex
	learnt map[uint64]struct{} // cgroups told since then, and since the last reload
	since  time.Time
}

func (p *processes) Attribute(ctx context.Context, f workload.Flow) (*workload.Process, error) {
	process, err := p.attributor.Attribute(ctx, f)
	if err != nil {
		return p.byKernel(f), err
	}
	if process.Cgroup != "" && p.unlearnt(f.CgroupID, time.Now()) {
		if err := p.learn(f.CgroupID, process.Cgroup); err != nil {
			p.budget.Warn(p.log, "learn_cgroup", logbudget.Stranger(f.Party()),
				"cannot teach the kernel a cgroup; its processes stay candidates", "error", err)
		}
	}
	return process, nil
}

// byKernel is what is known of a process that could not be attributed: what the
// connect hook saw of it. Nothing that the process may have put a file system
// under is looked at.
func (p *processes) byKernel(f workload.Flow) *workload.Process {
	process := &workload.Process{Image: f.Image, UID: f.UID, GID: f.GID, CgroupID: f.CgroupID}
	if path, err := p.cgroupPath(f.CgroupID); err == nil {
		process.Cgroup, process.SystemdUnit = path, workload.SystemdUnit(path)
	}
	return process
}

// unlearnt reports whether the kernel is to be told of a cgroup now.
func (p *processes) unlearnt(cgroup uint64, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.learnt) >= maxLearnt || now.Sub(p.since) >= tellAgain {
		clear(p.learnt)
		p.since = now
	}
	if _, ok := p.learnt[cgroup]; ok {
		return false
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
