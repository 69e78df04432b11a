//go:build linux

package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/logbudget"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// epochSlots is EPOCHS in bpf/include/abi.h.
const epochSlots = 4096

// Epoch counts the ends of tracked images under this process id, and under those
// that share its slot. While it does not change, an image that was found alive
// still is. It costs no system call.
func (p *Probe) Epoch(pid uint32) uint64 {
	return readWord(p.epochs, int64(pid%epochSlots)*8)
}

// Alive reports whether exactly this image runs, by the map that the exec, fork
// and exit hooks keep. Only images that were redirected or called the local API
// are in it. It is an error that is ErrGap while one of those hooks may have missed an end.
func (p *Probe) Alive(i workload.Image) (bool, error) {
	if p.hookSet.missed.Load() {
		return false, fmt.Errorf("look up image of %v: %w", i, ErrGap)
	}
	var known bpf.ConnectKnownImage
	err := p.connect.Images.Lookup(i.PID, &known)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up image of %v: %w", i, err)
	}
	return known.Image.StartTime == i.StartTime && known.Image.ExecId == i.ExecID, nil
}

// ErrGap says that a hook by which the kernel knows which images run was missing, so
// that nobody can tell. It passes when all hooks are attached again.
var ErrGap = errors.New("the exec, fork or exit hook was not attached, so that it is not known which images run")

// forgetImages ends the record of every image: some may have ended unseen. Whoever runs
// on comes on record with its next connection.
func (p *Probe) forgetImages() error {
	images, err := entriesOf[uint32, bpf.ConnectKnownImage](p.process.Images)
	if err != nil {
		return err
	}
	for pid := range images {
		if _, err := tell(p.process.LanyardForgetImage, &bpf.ProcessCounted{Tgid: pid}); err != nil {
			return err
		}
	}
	p.moveEpochs()
	return nil
}

// moveEpochs has everybody who knows an image ask Alive again. Programs count in the
// same words, by one; what they count meanwhile may be lost, but no value comes back.
func (p *Probe) moveEpochs() {
	const stride = 1 << 32
	for i := range int64(epochSlots) {
		writeWord(p.epochs, i*8, readWord(p.epochs, i*8)+stride)
	}
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
		p.lines.Warn(p.log, "verdict", logbudget.Stranger(f.Party()), "cannot cache a verdict; the process stays a candidate", "error", err)
	}
}

// tell runs a program that takes a packet on what it is told, and reports whether
// the kernel has a record of the image that this is about. The program may answer
// in place.
func tell[T any](program *ebpf.Program, about *T) (known bool, err error) {
	var packet bytes.Buffer
	if err := binary.Write(&packet, binary.NativeEndian, about); err != nil {
		return false, fmt.Errorf("write to %s: %w", program, err)
	}
	answer := make([]byte, packet.Len())
	ret, err := program.Run(&ebpf.RunOptions{Data: packet.Bytes(), DataOut: answer})
	if err != nil {
		return false, fmt.Errorf("run %s: %w", program, err)
	}
	if err := binary.Read(bytes.NewReader(answer), binary.NativeEndian, about); err != nil {
		return false, fmt.Errorf("read from %s: %w", program, err)
	}
	return ret == 0, nil
}

// countImages counts anew what a former agent left on record. No image comes on
// record meanwhile, since there is no listener; but some may end. So that none is
// given back that was not counted, all first count nowhere.
func (p *Probe) countImages() error {
	images, err := entriesOf[uint32, bpf.ConnectKnownImage](p.process.Images)
	if err != nil {
		return err
	}
	counted := make([]bpf.ProcessCounted, 0, len(images))
	for pid := range images {
		image := bpf.ProcessCounted{Tgid: pid}
		known, err := tell(p.process.LanyardCountImage, &image)
		if err != nil {
			return err
		}
		if known {
			counted = append(counted, image)
		}
	}
	if err := p.waitForPrograms(); err != nil { // which may be giving one back
		return err
	}
	for i := range int64(budgetCount) {
		writeWord(p.budgets.memory, i*budgetSize+imagesOffset, 0)
	}
	slots, none := make([]uint32, epochSlots), make([]uint32, epochSlots)
	for i := range slots {
		slots[i] = uint32(i)
	}
	if _, err := p.process.Attributed.BatchUpdate(slots, none, nil); err != nil {
		return err
	}
	for i := range counted {
		if _, err := tell(p.process.LanyardCountImage, &counted[i]); err != nil {
			return err
		}
	}
	return nil
}
