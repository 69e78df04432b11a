//go:build linux

package probe

import (
	"errors"
	"fmt"
	"maps"

	"github.com/cilium/ebpf"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// CheckWatch reports whether the kernel's tables can hold a watch.
func CheckWatch(w workload.Watch) error {
	_, err := compile(w, nil)
	return err
}

// Apply makes the kernel watch what w says, and calls live in the middle: before
// it, everything that the old or the new configuration watches comes to user
// space; after it, only what the new one does. A program that connects during a
// reload is thus looked at by one configuration or the other, and never passed
// by. A watch that is too large changes nothing; any other error leaves at most
// too much being watched. live must not call the probe.
func (p *Probe) Apply(w workload.Watch, live func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	next, err := compile(w, p.bits)
	if err != nil {
		return err
	}
	same, err := p.judgesBy(next)
	if err != nil {
		return err
	}
	before := p.settings
	if !same {
		err = p.makeAllCandidates(next.unchanged(p.watch))
	}
	if err == nil {
		err = p.widen(next)
	}
	if err != nil { // the tables of conditions are as they were, and so are their settings
		p.settings = before
		return errors.Join(err, p.putSettings())
	}
	p.former = nil
	live()
	return p.settle(next, same)
}

// judgesBy reports whether the kernel tells bystanders from candidates by exactly
// these conditions already. Then nobody need become a candidate while they are
// replaced: an agent that takes over has no listener yet, so that bystanders would
// be refused at closed destinations. Nor does an agent that hangs or dies during a reload
// leave the kernel without its certainty.
func (p *Probe) judgesBy(next compiledWatch) (bool, error) {
	now := &p.settings
	if now.Flags&bpf.ConnectSettingFlagALL_CANDIDATES != 0 || now.Identities != next.identities || now.Exact != next.exact ||
		now.Fingerprint != next.fingerprint || now.NameAny != next.nameAny || now.UidAny != next.uidAny || now.GidAny != next.gidAny || now.FileAny != next.fileAny ||
		now.CgroupAny != next.cgroupAny || next.cgroupOpen != 0 && !p.hasApplied(next) {
		return false, nil
	}
	for _, table := range next.tables(&p.connect) {
		same, err := table.isAsWanted()
		if err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

// hasApplied reports whether these conditions are those that this agent applied last. What
// those on cgroups mean that are its own to judge, the kernel does not hold: a former
// agent's may have meant something else.
func (p *Probe) hasApplied(next compiledWatch) bool {
	return p.watch.count > 0 && p.watch.count == next.count && p.watch.fingerprint == next.fingerprint
}

// makeAllCandidates has everybody looked at by user space. Identities whose conditions
// stay as they are can be told for certain all the while: an agent that ends in the middle
// of a reload leaves the fail policy in force for them.
func (p *Probe) makeAllCandidates(unchanged uint64) error {
	p.settings.Flags |= bpf.ConnectSettingFlagALL_CANDIDATES
	p.settings.Exact &= unchanged // for the others the tables are about to change
	if err := p.putSettings(); err != nil {
		return err
	}
	return p.waitForPrograms()
}

// widen adds what is new and takes nothing away.
func (p *Probe) widen(next compiledWatch) error {
	for key := range next.prefixes {
		if err := p.addPrefix(p.connect.WatchedPrefixes, p.prefixes, key); err != nil {
			return fmt.Errorf("watch prefixes: %w", err)
		}
	}
	for port, flags := range next.ports {
		if err := p.putPort(port, p.portsInUse[port]|flags); err != nil {
			return err
		}
	}
	return nil
}

// settle makes the tables exactly the new configuration's. Where that asks something
// else of anybody, the generation makes verdicts of the old one void.
func (p *Probe) settle(next compiledWatch, same bool) error {
	unchanged := next.unchanged(p.watch)
	p.watch, p.bits = next, next.bits
	if !same {
		if err := p.replaceConditions(next, unchanged); err != nil {
			return err
		}
		p.settings.Generation++
	}
	p.settings.Identities = next.identities
	p.settings.Several, p.settings.Fingerprint, p.settings.FileAny = next.several, next.fingerprint, next.fileAny
	p.settings.NameAny, p.settings.UidAny, p.settings.GidAny = next.nameAny, next.uidAny, next.gidAny
	p.settings.CgroupAny, p.settings.CgroupOpen = next.cgroupAny, next.cgroupOpen
	p.allot(p.connections, next.count)
	if err := p.putSettings(); err != nil {
		return err
	}
	if err := p.forgetCgroups(); err != nil {
		return err
	}
	p.settings.Exact = next.exact // only now does every table say so
	p.settings.Flags &^= bpf.ConnectSettingFlagALL_CANDIDATES
	if err := p.putSettings(); err != nil {
		return err
	}
	select {
	case p.relearn <- struct{}{}:
	default:
	}
	for port := range maps.Clone(p.portsInUse) {
		if err := p.putPort(port, next.ports[port]); err != nil {
			return err
		}
	}
	return p.dropPrefixes(p.connect.WatchedPrefixes, p.prefixes, next.prefixes)
}

func (p *Probe) replaceConditions(next compiledWatch, unchanged uint64) error {
	for _, table := range next.tables(&p.connect) {
		if err := table.replace(); err != nil {
			return err
		}
	}
	return p.learnt.forget(unchanged, next.cgroupMask)
}

// forgetCgroups has cgroups found out again as their processes connect, by the
// tables of now: no program that began with those of before still runs.
func (p *Probe) forgetCgroups() error {
	if err := p.waitForPrograms(); err != nil {
		return err
	}
	if err := clear[uint64, bpf.ConnectCgroupFacts](p.connect.Cgroups); err != nil {
		return fmt.Errorf("forget cgroups: %w", err)
	}
	return nil
}

func (p *Probe) addPrefix(m *ebpf.Map, known map[bpf.ConnectPrefixKey]bool, key bpf.ConnectPrefixKey) error {
	if known[key] {
		return nil
	}
	if err := m.Put(&key, uint8(1)); err != nil {
		return err
	}
	known[key] = true
	return nil
}

func (p *Probe) dropPrefixes(m *ebpf.Map, known, want map[bpf.ConnectPrefixKey]bool) error {
	for key := range maps.Clone(known) {
		if want[key] {
			continue
		}
		if err := m.Delete(&key); err != nil {
			return fmt.Errorf("drop prefixes: %w", err)
		}
		delete(known, key)
	}
	return nil
}

// putPort writes a port's flags; our own listeners' flag is kept.
func (p *Probe) putPort(port uint16, flags uint32) error {
	if p.ownPorts[port] {
		flags |= uint32(bpf.ConnectPortFlagPORT_OURS)
	}
	rule := bpf.ConnectPortRule{Flags: bpf.ConnectPortFlag(flags)}
	if err := p.connect.Ports.Put(uint32(port), &rule); err != nil {
		return fmt.Errorf("watch port %d: %w", port, err)
	}
	if flags == 0 {
		delete(p.portsInUse, port)
	} else {
		p.portsInUse[port] = flags
	}
	return nil
}

func (p *Probe) putSettings() error {
	if err := p.connect.SettingsNow.Put(uint32(0), &p.settings); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}
