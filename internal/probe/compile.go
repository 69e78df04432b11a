//go:build linux

package probe

import (
	"fmt"
	"net/netip"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Bounds of the kernel's tables, as in bpf/maps.
const (
	nameSize      = 64   // EXECUTABLE_NAME_SIZE
	maxConditions = 4096 // executables and users
	maxPrefixes   = 16384

	prefixPortBits = 32 // PREFIX_PORT_BITS
	identityBits   = 64
)

// compiledWatch is a workload.Watch in the kernel's terms. Identity i has bit
// i modulo 64; identities that share a bit only make each other's callers
// candidates.
type compiledWatch struct {
	ports    map[uint16]uint32
	prefixes map[bpf.ConnectPrefixKey]bool

	names map[[nameSize]byte]uint64
	uids  map[uint32]uint64

	identities                 uint64 // the bits in use
	nameAny, uidAny, cgroupAny uint64 // identities without such a condition

	cgroups []cgroupCondition
}

type cgroupCondition struct {
	bit     uint64
	accepts func(path string) bool
}

func (c *compiledWatch) cgroupMask(path string) uint64 {
	var mask uint64
	for _, condition := range c.cgroups {
		if condition.accepts(path) {
			mask |= condition.bit
		}
	}
	return mask
}

func compile(w workload.Watch) (compiledWatch, error) {
	c := compiledWatch{
		ports: map[uint16]uint32{}, prefixes: map[bpf.ConnectPrefixKey]bool{},
		names: map[[nameSize]byte]uint64{}, uids: map[uint32]uint64{},
	}
	for _, port := range w.Ports {
		c.addPort(port)
	}
	for i, condition := range w.Conditions {
		c.addCondition(uint64(1)<<(i%identityBits), condition)
	}
	if len(c.prefixes) > maxPrefixes {
		return c, fmt.Errorf("compile watch: the destinations' addresses make %d prefixes, and at most %d fit; use wider ones", len(c.prefixes), maxPrefixes)
	}
	if len(c.names) > maxConditions || len(c.uids) > maxConditions {
		return c, fmt.Errorf("compile watch: the identities name %d executables and %d users, and at most %d of each fit", len(c.names), len(c.uids), maxConditions)
	}
	return c, nil
}

func (c *compiledWatch) addPort(w workload.WatchedPort) {
	if w.Prefixes == nil {
		c.ports[w.Port] |= uint32(bpf.ConnectPortFlagPORT_WATCHED)
		return
	}
	c.ports[w.Port] |= uint32(bpf.ConnectPortFlagPORT_NARROWED)
	for _, prefix := range w.Prefixes {
		c.prefixes[prefixKey(w.Port, prefix)] = true
	}
}

func (c *compiledWatch) addCondition(bit uint64, w workload.Condition) {
	c.identities |= bit
	if names, ok := kernelNames(w.ExecutableNames); ok {
		for _, n := range names {
			c.names[n] |= bit
		}
	} else {
		c.nameAny |= bit
	}
	if w.UIDs == nil {
		c.uidAny |= bit
	}
	for _, uid := range w.UIDs {
		c.uids[uid] |= bit
	}
	if w.Cgroup == nil {
		c.cgroupAny |= bit
	} else {
		c.cgroups = append(c.cgroups, cgroupCondition{bit, w.Cgroup})
	}
}

// kernelNames turns names into keys. A name that the kernel's table cannot hold
// makes the condition uncheckable there.
func kernelNames(names []string) ([][nameSize]byte, bool) {
	if names == nil {
		return nil, false
	}
	keys := make([][nameSize]byte, len(names))
	for i, name := range names {
		if len(name) >= nameSize {
			return nil, false
		}
		copy(keys[i][:], name)
	}
	return keys, true
}

func prefixKey(port uint16, prefix netip.Prefix) bpf.ConnectPrefixKey {
	bits := prefix.Bits()
	addr := prefix.Masked().Addr()
	if addr.Is4() {
		bits += 96
	}
	key := bpf.ConnectPrefixKey{Prefixlen: uint32(prefixPortBits + bits), Port: uint32(port)}
	key.Addr.Bytes = addr.As16()
	return key
}
