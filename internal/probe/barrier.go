//go:build linux

package probe

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// newBarrier makes the map that waitForPrograms updates.
func newBarrier() (*ebpf.Map, error) {
	inner := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}
	return ebpf.NewMap(&ebpf.MapSpec{
		Name: "barrier", Type: ebpf.ArrayOfMaps,
		KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: inner,
	})
}

// waitForPrograms returns when every program that runs now has ended: a program
// can be preempted between reading the settings and reading a table. The kernel
// promises it of an update of a map of maps (maybe_wait_bpf_programs).
func (p *Probe) waitForPrograms() error {
	inner, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		return fmt.Errorf("wait for running programs: %w", err)
	}
	if err := errors.Join(p.barrier.Put(uint32(0), inner), inner.Close()); err != nil {
		return fmt.Errorf("wait for running programs: %w", err)
	}
	return nil
}
