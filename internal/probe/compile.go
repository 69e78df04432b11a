//go:build linux

package probe

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Bounds of the kernel's tables, as in bpf/maps.
const (
	nameSize      = 64   // NAME_SIZE
	maxConditions = 4096 // executables, users, groups, units and cgroups
	maxPrefixes   = 16384

	prefixPortBits = 32 // PREFIX_PORT_BITS
	identityBits   = 64
)

// compiledWatch is a workload.Watch in the kernel's terms. Each identity has a bit;
// identities that share one only make each other's callers candidates, and are
// never told for certain.
type compiledWatch struct {
	ports    map[uint16]uint32
	prefixes map[bpf.ConnectPrefixKey]bool

	names map[[nameSize]byte]uint64
	units map[[nameSize]byte]uint64
	uids  map[uint32]uint64
	gids  map[uint32]uint64

	identities        uint64            // the bits in use
	exact             uint64            // identities that the kernel can tell for certain
	several           uint64            // bits that several identities have
	fingerprint       uint64            // of every identity's bit and all that it asks
	asked             map[uint64]uint64 // by bit, if one identity has it: the fingerprint of what that asks
	nameAny, uidAny   uint64            // identities without such a condition
	gidAny, cgroupAny uint64
	fileAny           uint64
	cgroupOpen        uint64 // identities whose condition on the cgroup is user space's to judge

	cgroups []cgroupCondition
	paths   certainPaths
	bits    identityBitmap
	count   int // identities
}

// certainPaths are what Certainty names by path: which file, or cgroup, stands there
// is looked at again and again.
type certainPaths struct {
	files   map[string]uint64
	cgroups map[string]uint64
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

// compile translates a watch. Identities that had a bit keep it.
func compile(w workload.Watch, former identityBitmap) (compiledWatch, error) {
	c := compiledWatch{
		ports: map[uint16]uint32{}, prefixes: map[bpf.ConnectPrefixKey]bool{},
		names: map[[nameSize]byte]uint64{}, units: map[[nameSize]byte]uint64{},
		uids: map[uint32]uint64{}, gids: map[uint32]uint64{},
		paths: certainPaths{files: map[string]uint64{}, cgroups: map[string]uint64{}},
		bits:  former.next(w.Conditions), count: len(w.Conditions),
	}
	for _, port := range w.Ports {
		c.addPort(port)
	}
	for _, condition := range w.Conditions {
		c.addCondition(c.bits.mask(condition.Identity), condition)
	}
	c.several = c.bits.sharedBits()
	c.exact &^= c.several
	c.fingerprint, c.asked = fingerprintOf(w.Conditions, c.bits), map[uint64]uint64{}
	for _, condition := range w.Conditions {
		if bit := c.bits.mask(condition.Identity); bit&c.several == 0 {
			c.asked[bit] = fingerprintOf([]workload.Condition{condition}, c.bits)
		}
	}
	if len(c.prefixes) > maxPrefixes {
		return c, fmt.Errorf("compile watch: the destinations' addresses make %d prefixes, and at most %d fit; use wider ones", len(c.prefixes), maxPrefixes)
	}
	for what, n := range map[string]int{
		"executables": len(c.names), "users": len(c.uids), "groups": len(c.gids), "units": len(c.units),
		"paths of executables": len(c.paths.files), "cgroups": len(c.paths.cgroups),
	} {
		if n > maxConditions {
			return c, fmt.Errorf("compile watch: the identities name %d %s, and at most %d fit", n, what, maxConditions)
		}
	}
	return c, nil
}

// fingerprintOf tells sets of conditions apart, in which the kernel's tables can be
// the same: it does not hold a digest, nor the folder of an executable.
func fingerprintOf(conditions []workload.Condition, bits identityBitmap) uint64 {
	hash := sha256.New()
	for _, condition := range conditions {
		fmt.Fprintf(hash, "%q %d %q\n", condition.Identity, bits[condition.Identity], condition.Selector)
		if sure := condition.Certain; sure != nil {
			fmt.Fprintf(hash, "%q %q\n", sure.Files, sure.Cgroups)
		}
	}
	return binary.NativeEndian.Uint64(hash.Sum(nil))
}

// unchanged returns the bits of identities that ask the same as they did before.
func (c *compiledWatch) unchanged(before compiledWatch) uint64 {
	var bits uint64
	for bit, asks := range c.asked {
		if then, ok := before.asked[bit]; ok && then == asks {
			bits |= bit
		}
	}
	return bits
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
	addIDs(c.uids, &c.uidAny, w.UIDs, bit)
	addIDs(c.gids, &c.gidAny, w.GIDs, bit)
	if w.Cgroup == nil {
		c.cgroupAny |= bit
	} else {
		c.cgroups = append(c.cgroups, cgroupCondition{bit, w.Cgroup})
	}
	c.addCertainty(bit, w)
}

// addCertainty notes what the kernel can be sure of. A cgroup is settled by the name
// of its unit alone only where the identity names nothing but units that are
// written out; otherwise its members stay candidates until user space has looked.
func (c *compiledWatch) addCertainty(bit uint64, w workload.Condition) {
	sure := w.Certain
	if sure == nil {
		sure = &workload.Certainty{File: true}
	} else {
		c.exact |= bit
	}
	if !sure.File {
		c.fileAny |= bit
	}
	for _, path := range sure.Files {
		c.paths.files[path] |= bit
	}
	for _, path := range sure.Cgroups {
		c.paths.cgroups[path] |= bit
	}
	units, fit := kernelNames(sure.Units)
	for _, unit := range units {
		c.units[unit] |= bit
	}
	if w.Cgroup != nil && !(fit && sure.UnitsOnly) {
		c.cgroupOpen |= bit
	}
}

func addIDs(ids map[uint32]uint64, any *uint64, accepted []uint32, bit uint64) {
	if accepted == nil {
		*any |= bit
	}
	for _, id := range accepted {
		ids[id] |= bit
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
