//go:build linux

package probe

import (
	"fmt"
	"maps"

	"github.com/cilium/ebpf"

	"github.com/lanyardhq/lanyard/bpf"
)

// table is one of the kernel's tables of conditions, with what it is to hold.
type table interface {
	isAsWanted() (bool, error)
	replace() error
}

func (c *compiledWatch) tables(o *bpf.ConnectObjects) []table {
	return []table{
		masks[[nameSize]byte]{"executables", o.Executables, c.names},
		masks[[nameSize]byte]{"units", o.Units, c.units},
		masks[uint32]{"users", o.Users, c.uids},
		masks[uint32]{"groups", o.Groups, c.gids},
	}
}

// masks is a table of identities by what they accept.
type masks[K comparable] struct {
	what string
	m    *ebpf.Map
	want map[K]uint64
}

func (t masks[K]) isAsWanted() (bool, error) {
	var key K
	var mask uint64
	now := map[K]uint64{}
	all := t.m.Iterate()
	for all.Next(&key, &mask) {
		now[key] = mask
	}
	if err := all.Err(); err != nil {
		return false, fmt.Errorf("read %s: %w", t.what, err)
	}
	return maps.Equal(now, t.want), nil
}

// replace goes entry by entry, so that what an identity accepts before and afterwards is
// there throughout.
func (t masks[K]) replace() error {
	now, err := entriesOf[K, uint64](t.m)
	if err != nil {
		return fmt.Errorf("replace %s: %w", t.what, err)
	}
	for key := range now {
		if _, wanted := t.want[key]; wanted {
			continue
		}
		if err := t.m.Delete(&key); err != nil {
			return fmt.Errorf("replace %s: %w", t.what, err)
		}
	}
	for key, mask := range t.want {
		if err := t.m.Put(&key, mask); err != nil {
			return fmt.Errorf("replace %s: %w", t.what, err)
		}
	}
	return nil
}
