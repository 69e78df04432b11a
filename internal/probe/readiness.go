//go:build linux

package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/lanyardhq/lanyard/bpf"
)

// Family is an address family of a namespace: unix.AF_INET or unix.AF_INET6.
type Family uint32

// Listener says where the injector listens in one namespace and family.
type Listener struct {
	NetNS    uint64 // cookie
	Family   Family
	Port     uint16 // on the family's loopback address
	Routable bool   // the namespace has a route of this family beyond loopback
}

// Ready tells the hooks that the injector can be redirected to. The listener
// must have been marked.
func (p *Probe) Ready(l Listener) error {
	value := bpf.ConnectReadiness{Port: uint32(l.Port)}
	if l.Routable {
		value.Routable = 1
	}
	key := bpf.ConnectReadinessKey{Netns: l.NetNS, Family: uint32(l.Family)}
	if err := p.connect.ReadinessByNetns.Put(&key, &value); err != nil {
		return fmt.Errorf("announce listener: %w", err)
	}
	return nil
}

// Unready takes the announcement back: candidates in that namespace meet the
// fail policy.
func (p *Probe) Unready(netns uint64, family Family) error {
	key := bpf.ConnectReadinessKey{Netns: netns, Family: uint32(family)}
	err := p.connect.ReadinessByNetns.Delete(&key)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("withdraw listener: %w", err)
	}
	return nil
}

// inherit makes what a former agent left in the maps fit for this one: its
// listeners are gone, and the connections that waited for them; who the agent is
// has changed; what it watched stays in force, with the fail policy, until Apply.
func (p *Probe) inherit() error {
	if err := clear[bpf.ConnectReadinessKey, bpf.ConnectReadiness](p.connect.ReadinessByNetns); err != nil {
		return fmt.Errorf("clear listeners: %w", err)
	}
	if err := clear[bpf.ConnectFlowKey, bpf.ConnectFlow](p.connect.Flows); err != nil {
		return fmt.Errorf("clear flows: %w", err)
	}
	if err := p.connect.SettingsNow.Lookup(uint32(0), &p.settings); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	p.settings.AgentTgid = p.self.PID
	p.settings.AgentImage = bpf.ConnectImage{StartTime: p.self.StartTime, ExecId: p.self.ExecID}
	if err := p.putSettings(); err != nil {
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
	for _, t := range []struct {
		m    *ebpf.Map
		into map[bpf.ConnectPrefixKey]bool
	}{{p.connect.WatchedPrefixes, p.prefixes}, {p.connect.ClosedPrefixes, p.closed}} {
		var key bpf.ConnectPrefixKey
		var one uint8
		all := t.m.Iterate()
		for all.Next(&key, &one) {
			t.into[key] = true
		}
		if err := all.Err(); err != nil {
			return fmt.Errorf("read watched prefixes: %w", err)
		}
	}
	return nil
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

func clear[K, V any](m *ebpf.Map) error {
	var key K
	var value V
	var keys []K
	all := m.Iterate()
	for all.Next(&key, &value) {
		keys = append(keys, key)
	}
	if err := all.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return err
	}
	for i := range keys {
		if err := m.Delete(&keys[i]); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	return nil
}
