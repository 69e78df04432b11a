//go:build linux

package probe

import (
	"fmt"
	"maps"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Apply makes the kernel watch what w says, and calls live in the middle: before
// it, everything that the old or the new configuration watches comes to user
// space; after it, only what the new one does. A program that connects during a
// reload is thus looked at by one configuration or the other, and never passed
// by. A watch that is too large changes nothing; any other error leaves at most
// too much being watched. live must not call the probe.
func (p *Probe) Apply(w workload.Watch, live func()) error {
	next, err := compile(w)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	same, err := p.judgesBy(next)
	if err != nil {
		return err
	}
	if !same {
		if err := p.makeAllCandidates(); err != nil {
			return err
		}
	}
	if err := p.widen(next); err != nil {
		return err
	}
	live()
	return p.settle(next, same)
}

// judgesBy reports whether the kernel tells bystanders from candidates by exactly
// these conditions already. Then nobody need become a candidate while they are
// replaced: an agent that takes over has no listener yet, so that bystanders would
// be refused at closed destinations.
func (p *Probe) judgesBy(next compiledWatch) (bool, error) {
	now := &p.settings
	if now.Flags != 0 || now.Identities != next.identities || now.NameAny != next.nameAny || now.UidAny != next.uidAny ||
		now.CgroupAny != next.cgroupAny || len(next.cgroups) > 0 { // what those mean, the kernel does not hold
		return false, nil
	}
	names, err := contents[[nameSize]byte](p.connect.Executables)
	if err != nil {
		return false, fmt.Errorf("read executables: %w", err)
	}
	uids, err := contents[uint32](p.connect.Users)
	if err != nil {
		return false, fmt.Errorf("read users: %w", err)
	}
	return maps.Equal(names, next.names) && maps.Equal(uids, next.uids), nil
}

// contents reads a table of masks.
func contents[K comparable](m *ebpf.Map) (map[K]uint64, error) {
	var key K
	var mask uint64
	masks := map[K]uint64{}
	all := m.Iterate()
	for all.Next(&key, &mask) {
		masks[key] = mask
	}
	return masks, all.Err()
}

func (p *Probe) makeAllCandidates() error {
	p.settings.Flags = bpf.ConnectSettingFlagALL_CANDIDATES
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

// settle makes the tables exactly the new configuration's. The generation makes
// verdicts of the old one void.
func (p *Probe) settle(next compiledWatch, same bool) error {
	p.watch = next
	if !same {
		if err := p.replaceConditions(next); err != nil {
			return err
		}
	}
	p.settings.Generation++
	p.settings.Identities = next.identities
	p.settings.NameAny, p.settings.UidAny, p.settings.CgroupAny = next.nameAny, next.uidAny, next.cgroupAny
	if err := p.putSettings(); err != nil {
		return err
	}
	p.settings.Flags = 0
	if err := p.putSettings(); err != nil {
		return err
	}
	for port := range maps.Clone(p.portsInUse) {
		if err := p.putPort(port, next.ports[port]); err != nil {
			return err
		}
	}
	return p.dropPrefixes(p.connect.WatchedPrefixes, p.prefixes, next.prefixes)
}

func (p *Probe) replaceConditions(next compiledWatch) error {
	if err := clear[[nameSize]byte, uint64](p.connect.Executables); err != nil {
		return fmt.Errorf("replace executables: %w", err)
	}
	for name, mask := range next.names {
		if err := p.connect.Executables.Put(&name, mask); err != nil {
			return fmt.Errorf("replace executables: %w", err)
		}
	}
	if err := clear[uint32, uint64](p.connect.Users); err != nil {
		return fmt.Errorf("replace users: %w", err)
	}
	for uid, mask := range next.uids {
		if err := p.connect.Users.Put(uid, mask); err != nil {
			return fmt.Errorf("replace users: %w", err)
		}
	}
	// Cgroups are learnt again as their processes connect.
	if err := clear[uint64, uint64](p.connect.Cgroups); err != nil {
		return fmt.Errorf("forget cgroups: %w", err)
	}
	return nil
}

// LearnCgroup tells the kernel which identities a process in this cgroup can
// have, so that the others' callers become bystanders.
func (p *Probe) LearnCgroup(id uint64, path string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.watch.cgroups) == 0 {
		return nil
	}
	if err := p.connect.Cgroups.Put(id, p.watch.cgroupMask(path)); err != nil {
		return fmt.Errorf("learn cgroup %s: %w", path, err)
	}
	return nil
}

// ClosedDestination is an address known for a destination whose on_failure is
// closed.
type ClosedDestination struct {
	Prefix netip.Prefix
	Port   uint16
}

// SetClosed replaces the addresses where candidates are refused while no agent
// answers. It refuses more than the kernel's table holds and then changes
// nothing.
func (p *Probe) SetClosed(destinations []ClosedDestination) error {
	want := closedKeys(destinations)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.checkClosed(len(want)); err != nil {
		return err
	}
	if err := p.dropPrefixes(p.connect.ClosedPrefixes, p.closed, want); err != nil {
		return err
	}
	return p.addClosed(want)
}

// AddClosed is SetClosed for an agent that does not answer yet: what a former one
// closed stays closed until this one knows better.
func (p *Probe) AddClosed(destinations []ClosedDestination) error {
	want := closedKeys(destinations)
	p.mu.Lock()
	defer p.mu.Unlock()
	all := maps.Clone(p.closed)
	maps.Copy(all, want)
	if err := p.checkClosed(len(all)); err != nil {
		return err
	}
	return p.addClosed(want)
}

func closedKeys(destinations []ClosedDestination) map[bpf.ConnectPrefixKey]bool {
	keys := make(map[bpf.ConnectPrefixKey]bool, len(destinations))
	for _, d := range destinations {
		keys[prefixKey(d.Port, d.Prefix)] = true
	}
	return keys
}

func (p *Probe) checkClosed(count int) error {
	if limit := int(p.connect.ClosedPrefixes.MaxEntries()); count > limit {
		return fmt.Errorf("set closed destinations: %d addresses, and at most %d fit", count, limit)
	}
	return nil
}

func (p *Probe) addClosed(keys map[bpf.ConnectPrefixKey]bool) error {
	for key := range keys {
		if err := p.addPrefix(p.connect.ClosedPrefixes, p.closed, key); err != nil {
			return fmt.Errorf("set closed destinations: %w", err)
		}
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
