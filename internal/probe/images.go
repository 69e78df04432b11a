//go:build linux

package probe

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// epochSlots is EPOCHS in bpf/include/abi.h.
const epochSlots = 4096

// Epoch counts the ends of tracked images under this process id, and under those
// that share its slot. While it does not change, an image that was found alive
// still is. It costs no system call.
func (p *Probe) Epoch(pid uint32) uint64 {
	var word [8]byte
	if _, err := p.epochs.ReadAt(word[:], int64(pid%epochSlots)*8); err != nil {
		// The offset is within the map by construction.
		panic(fmt.Sprintf("read epoch: %v", err))
	}
	return binary.NativeEndian.Uint64(word[:])
}

// Alive reports whether exactly this image runs, by the map that the exec, fork
// and exit hooks keep. Only images that were redirected or called the local API
// are in it.
func (p *Probe) Alive(i workload.Image) (bool, error) {
	var running bpf.ConnectImage
	err := p.connect.Images.Lookup(i.PID, &running)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up image of %v: %w", i, err)
	}
	return running.StartTime == i.StartTime && running.ExecId == i.ExecID, nil
}

// Bystander tells the kernel that the caller of this flow has no identity: until
// the image, its ids or the configuration change, its connections go straight on.
func (p *Probe) Bystander(f workload.Flow) {
	key := bpf.ConnectVerdictKey{
		Image:      bpf.ConnectImage{StartTime: f.Image.StartTime, ExecId: f.Image.ExecID},
		Cgroup:     f.CgroupID,
		Generation: f.Generation,
		Tgid:       f.Image.PID,
		Uid:        f.UID,
		Gid:        f.GID,
	}
	if err := p.connect.Verdicts.Put(&key, bpf.ConnectVerdictVERDICT_BYSTANDER); err != nil {
		p.log.Warn("cannot cache a verdict; the process stays a candidate", "error", err)
	}
}
