//go:build linux

package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Lookup returns the flow of a connection that one of our marked listeners
// accepted. The kernel put it into the accepted socket's own storage, so that it is
// that connection's and no other's, whatever address it came from. A connection
// that the hooks did not see has none: workload.ErrNoFlow. Give the share of a
// redirected one back with Release.
func (p *Probe) Lookup(accepted syscall.Conn) (workload.Flow, error) {
	state, err := p.storage(accepted)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return workload.Flow{}, workload.ErrNoFlow
	}
	if err != nil {
		return workload.Flow{}, fmt.Errorf("look up flow: %w", err)
	}
	if state.Marks != bpf.ConnectSocketMarkSOCKET_ACCEPTED || kindOf(state.Flow.Kind) == 0 {
		return workload.Flow{}, workload.ErrNoFlow
	}
	p.budgets.claimed.Add(int64(min(state.Flow.Account.Budget, 1)))
	return flowOf(&state), nil
}

// storage reads what the kernel keeps with a socket of ours.
func (p *Probe) storage(c syscall.Conn) (state bpf.ConnectSocket, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return state, err
	}
	var lookErr error
	err = raw.Control(func(fd uintptr) {
		lookErr = p.connect.Sockets.Lookup(int32(fd), &state)
	})
	return state, errors.Join(err, lookErr)
}

func flowOf(state *bpf.ConnectSocket) workload.Flow {
	raw := &state.Flow
	return workload.Flow{
		Kind:       kindOf(raw.Kind),
		Image:      workload.Image{PID: raw.Tgid, StartTime: raw.Image.StartTime, ExecID: raw.Image.ExecId},
		UID:        raw.Uid,
		GID:        raw.Gid,
		CgroupID:   raw.Cgroup,
		NetNS:      raw.Netns,
		PlaceID:    raw.Place,
		Generation: raw.Generation,
		Client:     addrPort(state.Key.Local, state.Key.LocalPort),
		Original:   addrPort(raw.Original, raw.OriginalPort),
		File: workload.FileID{
			Inode: raw.File.Inode, Size: raw.File.Size, ChangeTime: raw.File.Ctime,
			ChangeNanoseconds: raw.File.CtimeNs, Device: raw.File.Device, Generation: raw.File.Generation,
		},
		Known:  raw.Identity != 0,
		OfUser: raw.PartyUid != raw.Uid,
		Share:  workload.Share{Budget: raw.Account.Budget, Place: raw.Account.Place, Shared: raw.Shared != 0},
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

func readClock(clock int32) uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		// The clock that is read exists on every kernel that can load the probe.
		panic(fmt.Sprintf("read clock %d: %v", clock, err))
	}
	return uint64(ts.Nano())
}
