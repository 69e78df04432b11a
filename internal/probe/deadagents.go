//go:build linux

package probe

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

const (
	deadAgentsInterval = 3 * time.Second
	// maxNamed is how many of their folders, and of their programs, a message names.
	maxNamed = 4
	// startLimit is how long after its programs were loaded an agent may take to pin
	// them, or to beat.
	startLimit = 30 * time.Second
)

// deadAgents looks for connect hooks of agents that are dead: an agent beside them hears
// of no connect that they refuse. They are never removed, since they hold the fail
// policy until an operator decides otherwise.
type deadAgents struct {
	log    *slog.Logger
	pins   *pinFolder
	cgroup string        // that ours are attached to
	hooks  func() []hook // of this agent
	young  time.Duration // see startLimit

	found atomic.Pointer[error] // what was found last

	// Of whoever looks, one at a time.
	failed   string           // why the last look could not see all
	suspects []ebpf.ProgramID // what it held for hooks of dead agents, without a pin
}

// DeadAgents returns nil if no hooks of a dead agent are known to stand beside this
// one's, as of a few seconds ago, and else says where they are and what to do.
func (p *Probe) DeadAgents() error { return errorIn(&p.deadAgents.found) }

// look looks again, and logs what changed. That it cannot see is no reason to stop.
func (d *deadAgents) look() {
	found, err := d.find()
	if failed := textOfError(err); failed != d.failed {
		d.failed = failed
		if err != nil {
			d.log.Warn("cannot tell whether hooks of dead agents refuse connections", "error", err)
		}
	}
	before := errorIn(&d.found)
	if found == nil && err != nil {
		found = before // nobody can say that it is gone
	}
	d.found.Store(&found)
	switch {
	case textOfError(found) == textOfError(before):
	case found != nil:
		d.log.Error("hooks of a dead agent stand beside this one's, and this one is not asked about what they refuse", "found", found)
	default:
		d.log.Info("no hooks of a dead agent stand beside this one's any more")
	}
}

func textOfError(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// find asks for the programs before it reads the pins, so that it finds the pin of
// every program that an agent pins at once.
func (d *deadAgents) find() (found, err error) {
	others, err := d.otherPrograms()
	neighbours, readErr := d.neighbours()
	var says []string
	for _, n := range neighbours {
		if n.dead && n.attached {
			says = append(says, n.String())
		}
		others = slices.DeleteFunc(others, func(id ebpf.ProgramID) bool { return slices.Contains(n.programs, id) })
	}
	if more := len(says) - maxNamed; more > 0 {
		says = append(says[:maxNamed], fmt.Sprintf("and those of %d more in %s", more, d.pins.parent()))
	}
	orphans, orphansErr := d.orphans(others)
	if len(orphans) > 0 {
		says = append(says, fmt.Sprintf("hooks of a dead agent, of which no pin is below %s, refuse what they were told to (programs %s): "+
			"a BPF file system that is mounted elsewhere or no more, or a process, holds them; see whose with bpftool -f link show or lsof, "+
			"and end the holder, detach them with bpftool link detach id LINK, or restart the host", d.pins.parent(), listOf(orphans)))
	}
	if len(says) > 0 {
		found = errors.New(strings.Join(says, "; "))
	}
	return found, errors.Join(err, readErr, orphansErr)
}

func listOf(ids []ebpf.ProgramID) string {
	var list []string
	for i, id := range ids {
		if i == maxNamed {
			list = append(list, "…")
			break
		}
		list = append(list, fmt.Sprint(id))
	}
	return strings.Join(list, ", ")
}

// otherPrograms returns the programs other than ours that run with our cgroup's connects,
// whoever's they are.
func (d *deadAgents) otherPrograms() ([]ebpf.ProgramID, error) {
	cgroup, err := openCgroup(d.cgroup)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // that is known elsewhere
	}
	if err != nil {
		return nil, err
	}
	defer cgroup.close()
	var others []ebpf.ProgramID
	for _, h := range d.hooks() {
		if !slices.Contains(connectHooks, h.name) {
			continue
		}
		ours, err := programID(h)
		if err != nil {
			return nil, err
		}
		effective, err := link.QueryPrograms(link.QueryOptions{
			Target: int(cgroup.dir.Fd()), Attach: h.attach, QueryFlags: queryEffective,
		})
		if err != nil {
			return nil, fmt.Errorf("ask which programs run at hook %s: %w", h.name, err)
		}
		for _, program := range effective.Programs {
			if program.ID != ours {
				others = append(others, program.ID)
			}
		}
	}
	return others, nil
}

// queryEffective is BPF_F_QUERY_EFFECTIVE (include/uapi/linux/bpf.h): with the programs
// of the cgroups above.
const queryEffective = 1

// orphans returns those programs that are connect hooks of an agent that does not answer,
// now and when it was asked last: once a pin is removed, its program may run a moment more.
func (d *deadAgents) orphans(programs []ebpf.ProgramID) (orphans []ebpf.ProgramID, err error) {
	var suspects []ebpf.ProgramID
	var errs []error
	for _, id := range programs {
		dead, err := d.isDead(id)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("look at program %d: %w", id, err))
		}
		if !dead {
			continue
		}
		suspects = append(suspects, id)
		if slices.Contains(d.suspects, id) {
			orphans = append(orphans, id)
		}
	}
	d.suspects = suspects
	return orphans, errors.Join(errs...)
}

// connectProgram is how the names of the programs of both connect hooks begin. Some
// kernels know no more of them.
const connectProgram = "lanyard_connect"

func (d *deadAgents) isDead(id ebpf.ProgramID) (bool, error) {
	program, err := ebpf.NewProgramFromID(id) // needs CAP_SYS_ADMIN
	if err != nil {
		return false, err
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil || !strings.HasPrefix(info.Name, connectProgram) {
		return false, err
	}
	if loaded, ok := info.LoadTime(); ok && sinceBoot()-loaded < d.young {
		return false, nil
	}
	maps, _ := info.MapIDs()
	for _, m := range maps {
		if alive, err := isFreshHeartbeat(m); alive || err != nil {
			return false, err
		}
	}
	return true, nil
}

// isFreshHeartbeat reports whether a map is the heartbeat of an agent that answers.
func isFreshHeartbeat(id ebpf.MapID) (bool, error) {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return false, err
	}
	defer func() { _ = m.Close() }() // it was only read
	info, err := m.Info()
	if err != nil || info.Name != "heartbeat" || m.ValueSize() != 8 {
		return false, err
	}
	var beat uint64
	if err := m.Lookup(uint32(0), &beat); err != nil {
		return false, err
	}
	return readClock(unix.CLOCK_MONOTONIC) < beat+uint64(heartbeatLimit), nil
}

func sinceBoot() time.Duration { return time.Duration(readClock(unix.CLOCK_BOOTTIME)) }
