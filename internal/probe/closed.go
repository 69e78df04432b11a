//go:build linux

package probe

import (
	"fmt"
	"maps"
	"net/netip"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// ClosedDestination is an address known for a destination whose on_failure is
// closed.
type ClosedDestination struct {
	Prefix     netip.Prefix
	Port       uint16
	Identities []string // that get a token there
	Unknown    workload.UnknownCallers
}

// SetClosed replaces the addresses where identities are refused while no agent
// answers. It refuses more than the kernel's table holds and then changes nothing.
func (p *Probe) SetClosed(destinations []ClosedDestination) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	want := p.closedKeys(destinations)
	if err := p.checkClosed(len(want)); err != nil {
		return err
	}
	for key := range maps.Clone(p.closed) {
		if _, ok := want[key]; ok {
			continue
		}
		if err := p.connect.ClosedPrefixes.Delete(&key); err != nil {
			return fmt.Errorf("set closed destinations: %w", err)
		}
		delete(p.closed, key)
	}
	return p.addClosed(want)
}

// closedKeys puts destinations into the kernel's terms. It finds the longest prefix
// of an address only, which therefore has to say what the shorter ones say.
func (p *Probe) closedKeys(destinations []ClosedDestination) map[bpf.ConnectPrefixKey]bpf.ConnectClosed {
	keys := make(map[bpf.ConnectPrefixKey]bpf.ConnectClosed, len(destinations))
	lengths := map[uint32]bool{}
	for _, d := range destinations {
		key := prefixKey(d.Port, d.Prefix)
		value := keys[key]
		for _, identity := range d.Identities {
			value.Identities |= p.bits.mask(identity)
		}
		value.Unknown = max(value.Unknown, unknownPolicy(d.Unknown))
		keys[key] = value
		lengths[key.Prefixlen] = true
	}
	joined := make(map[bpf.ConnectPrefixKey]bpf.ConnectClosed, len(keys))
	for key, value := range keys {
		for length := range lengths {
			if length < key.Prefixlen {
				wider := keys[shortened(key, length)]
				value.Identities |= wider.Identities
				value.Unknown = max(value.Unknown, wider.Unknown)
			}
		}
		joined[key] = value
	}
	return joined
}

// shortened returns the key of the prefix of this length that holds another.
func shortened(key bpf.ConnectPrefixKey, length uint32) bpf.ConnectPrefixKey {
	addr := netip.AddrFrom16(key.Addr.Bytes)
	wider := netip.PrefixFrom(addr, int(length)-prefixPortBits).Masked()
	return bpf.ConnectPrefixKey{Prefixlen: length, Port: key.Port, Addr: bpf.ConnectAddress{Bytes: wider.Addr().As16()}}
}

func unknownPolicy(u workload.UnknownCallers) bpf.ConnectUnknownPolicy {
	switch u {
	case workload.UnknownRefusedElsewhere:
		return bpf.ConnectUnknownPolicyUNKNOWN_REFUSED_ELSEWHERE
	case workload.UnknownRefused:
		return bpf.ConnectUnknownPolicyUNKNOWN_REFUSED
	default:
		return bpf.ConnectUnknownPolicyUNKNOWN_PASSES
	}
}

func (p *Probe) checkClosed(count int) error {
	if limit := int(p.connect.ClosedPrefixes.MaxEntries()); count > limit {
		return fmt.Errorf("set closed destinations: %d addresses, and at most %d fit", count, limit)
	}
	return nil
}

func (p *Probe) addClosed(want map[bpf.ConnectPrefixKey]bpf.ConnectClosed) error {
	for key, value := range want {
		if now, ok := p.closed[key]; ok && now == value {
			continue
		}
		if err := p.connect.ClosedPrefixes.Put(&key, &value); err != nil {
			return fmt.Errorf("set closed destinations: %w", err)
		}
		p.closed[key] = value
	}
	return nil
}
