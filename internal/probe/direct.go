//go:build linux

package probe

import (
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
)

// TurnAway has the kernel answer whoever connects to the injector of this network
// namespace, the calling thread's, or to where callers of the local API are sent, without
// having been sent there by the hooks: with a reset, as if nobody listened, before it costs
// user space anything. The hooks refuse the callers that they see by themselves; this is
// for the others.
// ports are those of the injector's listeners, and replace those that were named before. It is an addition: without it such a
// connection is accepted, found to have no flow, and reset.
func (p *Probe) TurnAway(ports map[Family]Ports) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cookie, err := netnsHere()
	if err != nil {
		return err
	}
	program, err := p.loadDirect(cookie, ports)
	if err != nil {
		return err
	}
	defer program.Close()
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("turn strangers away: open network namespace: %w", err)
	}
	defer unix.Close(fd)
	l, err := link.AttachNetNs(fd, program)
	if err != nil {
		return fmt.Errorf("turn strangers away: attach to network namespace: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	former := p.direct[cookie]
	p.direct[cookie] = l
	if former != nil { // told of other ports
		if err := former.Close(); err != nil {
			return fmt.Errorf("turn strangers away: detach from network namespace: %w", err)
		}
	}
	return nil
}

func (p *Probe) loadDirect(netns uint64, ports map[Family]Ports) (*ebpf.Program, error) {
	spec, err := loadSpec(bpf.LoadHandshake)
	if err != nil {
		return nil, fmt.Errorf("read handshake programs: %w", err)
	}
	for name, value := range map[string]any{
		"netns": netns, "injector4": ports[unix.AF_INET].words(), "injector6": ports[unix.AF_INET6].words(),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s of the sk_lookup program: %w", name, err)
		}
	}
	var direct struct {
		Program *ebpf.Program `ebpf:"lanyard_direct"`
	}
	options := &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: p.pins.maps()}}
	if err := spec.LoadAndAssign(&direct, options); err != nil {
		return nil, explain("sk_lookup program", err)
	}
	return direct.Program, nil
}
