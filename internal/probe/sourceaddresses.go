//go:build linux

package probe

import (
	"fmt"
	"maps"
	"net/netip"

	"github.com/lanyardhq/lanyard/bpf"
)

// MaxSourceAddresses is how many prefixes of one family SetSourceAddresses takes.
const MaxSourceAddresses = 1024

// SetSourceAddresses tells the hooks from which address the kernel connects to each
// prefix in a network namespace: what getsockname answers on a redirected socket that was
// not bound. The longest prefix of an address counts; where there is none, it answers with
// the loopback address that the socket has. It replaces what it was told before.
func (p *Probe) SetSourceAddresses(netns uint64, sources map[netip.Prefix]netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	want := make(map[bpf.ConnectSourceKey]bpf.ConnectAddress, len(sources))
	for prefix, source := range sources {
		want[sourceKey(netns, prefix)] = bpf.ConnectAddress{Bytes: source.As16()}
	}
	for key, value := range want {
		if former, ok := p.sources[key]; ok && former == value {
			continue
		}
		if err := p.connect.SourceAddresses.Put(&key, &value); err != nil {
			return fmt.Errorf("set source addresses: %w", err)
		}
		p.sources[key] = value
	}
	for key := range maps.Clone(p.sources) {
		if _, ok := want[key]; ok || key.Netns != netns {
			continue
		}
		if err := p.forgetSource(key); err != nil {
			return err
		}
	}
	return nil
}

func (p *Probe) forgetSource(key bpf.ConnectSourceKey) error {
	if err := p.connect.SourceAddresses.Delete(&key); err != nil {
		return fmt.Errorf("set source addresses: %w", err)
	}
	delete(p.sources, key)
	return nil
}

// readSources learns what a former agent told the kernel, and ends what it told of
// namespaces that nobody looks after any more.
func (p *Probe) readSources() error {
	var key bpf.ConnectSourceKey
	var value bpf.ConnectAddress
	all := p.connect.SourceAddresses.Iterate()
	for all.Next(&key, &value) {
		p.sources[key] = value
	}
	if err := all.Err(); err != nil {
		return fmt.Errorf("read source addresses: %w", err)
	}
	for key := range maps.Clone(p.sources) {
		if key.Netns == p.home {
			continue
		}
		if err := p.forgetSource(key); err != nil {
			return err
		}
	}
	return nil
}

// sourceNetNSBits is SOURCE_NETNS_BITS of bpf/include/abi.h.
const sourceNetNSBits = 96

func sourceKey(netns uint64, prefix netip.Prefix) bpf.ConnectSourceKey {
	like := prefixKey(0, prefix)
	return bpf.ConnectSourceKey{
		Prefixlen: like.Prefixlen - prefixPortBits + sourceNetNSBits, Netns: netns, Addr: like.Addr,
	}
}
