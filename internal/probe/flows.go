//go:build linux

package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// flowLifetime is how long a published flow waits for its connection to be
// accepted; FLOW_LIFETIME_NS in bpf/include/abi.h.
const flowLifetime = 30 * time.Second

// Flows claims the flows published in one network namespace. It is safe for
// concurrent use.
type Flows struct {
	probe *Probe
	netns uint64
}

// Flows returns the flows of the namespace with this cookie.
func (p *Probe) Flows(netns uint64) *Flows { return &Flows{probe: p, netns: netns} }

// Lookup claims the flow of the connection that a listener accepted from client.
// It can be claimed once. Without one, or when it is stale, the error is
// workload.ErrNoFlow: the connection was not sent here by the hooks.
func (f *Flows) Lookup(client netip.AddrPort) (workload.Flow, error) {
	key := bpf.ConnectFlowKey{Netns: f.netns, Port: uint32(client.Port())}
	key.Local.Bytes = client.Addr().As16()
	var raw bpf.ConnectFlow
	err := f.probe.connect.Flows.LookupAndDelete(&key, &raw)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return workload.Flow{}, workload.ErrNoFlow
	}
	if err != nil {
		return workload.Flow{}, fmt.Errorf("look up flow of %s: %w", client, err)
	}
	if isStale(&raw, sinceBoot()) {
		return workload.Flow{}, workload.ErrNoFlow
	}
	return flowOf(&key, &raw), nil
}

func flowOf(key *bpf.ConnectFlowKey, raw *bpf.ConnectFlow) workload.Flow {
	return workload.Flow{
		Kind:       kindOf(raw.Kind),
		Image:      workload.Image{PID: raw.Tgid, StartTime: raw.Image.StartTime, ExecID: raw.Image.ExecId},
		UID:        raw.Uid,
		GID:        raw.Gid,
		CgroupID:   raw.Cgroup,
		NetNS:      raw.Netns,
		Generation: raw.Generation,
		Client:     addrPort(key.Local, key.Port),
		Original:   addrPort(raw.Original, raw.OriginalPort),
	}
}

// kindOf returns no kind for one that this agent does not know.
func kindOf(k bpf.ConnectFlowKind) workload.FlowKind {
	switch k {
	case bpf.ConnectFlowKindFLOW_REDIRECTED:
		return workload.FlowRedirected
	case bpf.ConnectFlowKindFLOW_LOCAL_API:
		return workload.FlowLocalAPI
	}
	return 0
}

func addrPort(a bpf.ConnectAddress, port uint32) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(a.Bytes).Unmap(), uint16(port))
}

// isStale reports whether a flow waited longer than its lifetime. A flow can be
// younger than now: it may have been published since the clock was read.
func isStale(flow *bpf.ConnectFlow, now uint64) bool {
	return now > flow.Published && now-flow.Published > uint64(flowLifetime)
}

// sweepFlows removes what nobody claimed in time.
func (p *Probe) sweepFlows() error {
	var key bpf.ConnectFlowKey
	var flow bpf.ConnectFlow
	var stale []bpf.ConnectFlowKey
	now := sinceBoot()
	all := p.connect.Flows.Iterate()
	for all.Next(&key, &flow) {
		if isStale(&flow, now) {
			stale = append(stale, key)
		}
	}
	// An iteration that was overtaken by changes is finished by the next sweep.
	if err := all.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("sweep flows: %w", err)
	}
	for _, k := range stale {
		if err := p.sweepFlow(&k, now); err != nil {
			return fmt.Errorf("sweep flows: %w", err)
		}
	}
	return nil
}

// sweepFlow removes one flow that was found stale. The kernel puts a new flow
// over a stale one: a fresh one that stands there meanwhile goes back.
func (p *Probe) sweepFlow(key *bpf.ConnectFlowKey, now uint64) error {
	var flow bpf.ConnectFlow
	err := p.connect.Flows.LookupAndDelete(key, &flow)
	if errors.Is(err, ebpf.ErrKeyNotExist) || err == nil && isStale(&flow, now) {
		return nil
	}
	if err != nil {
		return err
	}
	err = p.connect.Flows.Update(key, &flow, ebpf.UpdateNoExist)
	if errors.Is(err, ebpf.ErrKeyExist) {
		return nil
	}
	return err
}

// sinceBoot is the clock of published flows: nanoseconds since boot, suspended
// time included.
func sinceBoot() uint64 { return readClock(unix.CLOCK_BOOTTIME) }

func readClock(clock int32) uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		// Both clocks that are read exist on every kernel that can load the probe.
		panic(fmt.Sprintf("read clock %d: %v", clock, err))
	}
	return uint64(ts.Nano())
}

// Pending returns how many flows wait for their connection to be accepted.
func (p *Probe) Pending() (int, error) {
	var key bpf.ConnectFlowKey
	var flow bpf.ConnectFlow
	pending := 0
	all := p.connect.Flows.Iterate()
	for all.Next(&key, &flow) {
		pending++
	}
	if err := all.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return 0, fmt.Errorf("count flows: %w", err)
	}
	return pending, nil
}
