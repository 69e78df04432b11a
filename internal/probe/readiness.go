//go:build linux

package probe

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"

	"github.com/cilium/ebpf"

	"github.com/lanyardhq/lanyard/bpf"
)

// Family is an address family of a namespace: unix.AF_INET or unix.AF_INET6.
type Family uint32

// Listeners is how many listeners the injector, and the local API, have in one
// namespace and family: the first half for callers whose identity the kernel knows, the
// others for everybody else.
const Listeners = len(bpf.ConnectReadiness{}.Ports)

// Ports are those of the listeners of one kind and family, on its loopback address. A
// listener may stand at several places.
type Ports [Listeners]uint16

func (p Ports) words() (words [Listeners]uint32) {
	for i, port := range p {
		words[i] = uint32(port)
	}
	return words
}

// Readiness says where the injector listens in one namespace and family.
type Readiness struct {
	NetNS    uint64 // cookie
	Family   Family
	Ports    Ports
	Routable bool // the namespace has a route of this family beyond loopback
}

// Ready tells the hooks that the injector can be redirected to. All its listeners must
// have been marked. After StopRedirecting nobody is told any more.
func (p *Probe) Ready(l Readiness) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopping {
		return nil
	}
	value := bpf.ConnectReadiness{Ports: l.Ports.words()}
	if l.Routable {
		value.Routable = 1
	}
	key := bpf.ConnectReadinessKey{Netns: l.NetNS, Family: uint32(l.Family)}
	if err := p.connect.ReadinessByNetns.Put(&key, &value); err != nil {
		return fmt.Errorf("announce listeners: %w", err)
	}
	return nil
}

// Unready takes the announcement back: candidates in that namespace meet the
// fail policy.
func (p *Probe) Unready(netns uint64, family Family) error {
	key := bpf.ConnectReadinessKey{Netns: netns, Family: uint32(family)}
	err := p.connect.ReadinessByNetns.Delete(&key)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("withdraw listeners: %w", err)
	}
	return nil
}

// LocalReady has callers of the local API sent to these ports, whatever address of it
// they ask for. All listeners there must have been marked with MarkLocalAPI.
func (p *Probe) LocalReady(netns uint64, family Family, ports Ports) error {
	key := bpf.ConnectReadinessKey{Netns: netns, Family: uint32(family)}
	if err := p.connect.LocalByNetns.Put(&key, &bpf.ConnectLocalListeners{Ports: ports.words()}); err != nil {
		return fmt.Errorf("announce listeners of the local API: %w", err)
	}
	return nil
}

// LocalUnready takes that back: callers stay at the address that they ask for.
func (p *Probe) LocalUnready(netns uint64, family Family) error {
	key := bpf.ConnectReadinessKey{Netns: netns, Family: uint32(family)}
	err := p.connect.LocalByNetns.Delete(&key)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("withdraw listeners of the local API: %w", err)
	}
	return nil
}

// StopRedirecting is the first half of a clean stop: from one connect() to the next, the
// fail policy holds instead of a redirect, for whoever would have been redirected. Hooks
// and tables stay. When it returns, no program sends anybody to a listener any more;
// connections that were redirected before are still known, and the ends of images still
// seen, until Leave.
func (p *Probe) StopRedirecting() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopping = true
	if err := clear[bpf.ConnectReadinessKey, bpf.ConnectReadiness](p.connect.ReadinessByNetns); err != nil {
		return fmt.Errorf("stop redirecting: %w", err)
	}
	return p.waitForPrograms()
}

// restoreSettings makes what the kernel goes by as a former agent left it, where the
// tables that it speaks of are that one's still.
func (p *Probe) restoreSettings() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.former == nil {
		return nil
	}
	p.settings = *p.former
	return p.putSettings()
}

// inherit makes what a former agent left in the maps fit for this one: its
// listeners are gone, and the connections that waited for them; who the agent is
// has changed; what it watched stays in force, with the fail policy, until Apply.
func (p *Probe) inherit() error {
	if err := clear[bpf.ConnectReadinessKey, bpf.ConnectReadiness](p.connect.ReadinessByNetns); err != nil {
		return fmt.Errorf("clear listeners: %w", err)
	}
	if err := clear[bpf.ConnectReadinessKey, bpf.ConnectLocalListeners](p.connect.LocalByNetns); err != nil {
		return fmt.Errorf("clear listeners of the local API: %w", err)
	}
	for _, m := range []*ebpf.Map{p.connect.Handshakes, p.connect.LocalHandshakes} {
		if err := clear[bpf.ConnectFlowKey, bpf.ConnectFlow](m); err != nil {
			return fmt.Errorf("clear handshakes: %w", err)
		}
	}
	if err := p.resetBudgets(); err != nil {
		return err
	}
	if err := p.countImages(); err != nil {
		return fmt.Errorf("count images: %w", err)
	}
	if err := p.connect.SettingsNow.Lookup(uint32(0), &p.settings); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	former := p.settings
	p.former = &former
	p.settings.AgentTgid = p.self.PID
	p.settings.AgentImage = bpf.ConnectImage{StartTime: p.self.StartTime, ExecId: p.self.ExecID}
	p.settings.HomeNetns = p.home
	p.allot(p.connections, bits.OnesCount64(p.settings.Identities))
	if p.settings.Seed == 0 {
		p.settings.Seed = rand.Uint32() | 1
	}
	if err := p.putSettings(); err != nil {
		return err
	}
	p.learnt = newLearnt(&p.connect)
	if err := p.learnt.inherit(bits.OnesCount64(p.settings.Identities)); err != nil {
		return err
	}
	return p.readTables()
}

// readTables learns what ports and prefixes the kernel holds, so that Apply can
// change the difference only.
func (p *Probe) readTables() error {
	if err := p.readPorts(); err != nil {
		return fmt.Errorf("read watched ports: %w", err)
	}
	var key bpf.ConnectPrefixKey
	var one uint8
	watched := p.connect.WatchedPrefixes.Iterate()
	for watched.Next(&key, &one) {
		p.prefixes[key] = true
	}
	var value bpf.ConnectClosed
	closed := p.connect.ClosedPrefixes.Iterate()
	for closed.Next(&key, &value) {
		p.closed[key] = value
	}
	if err := errors.Join(watched.Err(), closed.Err()); err != nil {
		return fmt.Errorf("read prefixes: %w", err)
	}
	return p.readSources()
}

// readPorts reads the ports in batches: one by one they would cost 131,072 system
// calls.
func (p *Probe) readPorts() error {
	const batch = 4096
	ports, rules := make([]uint32, batch), make([]bpf.ConnectPortRule, batch)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := p.connect.Ports.BatchLookup(&cursor, ports, rules, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) { // which says that this was the last
			return err
		}
		for i, port := range ports[:n] {
			if rules[i].Flags != 0 {
				p.portsInUse[uint16(port)] = uint32(rules[i].Flags &^ bpf.ConnectPortFlagPORT_OURS)
			}
		}
		if err != nil {
			return nil
		}
	}
}
