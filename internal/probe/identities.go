//go:build linux

package probe

import (
	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// identityBitmap gives each identity, by name, a bit of the kernel's masks. Beyond
// identityBits of them, several have the same.
type identityBitmap map[string]int

// next returns the bits of another configuration. Who had one keeps it: what the
// kernel knows by it stays true while its tables are replaced.
func (b identityBitmap) next(conditions []workload.Condition) identityBitmap {
	next := make(identityBitmap, len(conditions))
	users := [identityBits]int{}
	for _, c := range conditions {
		if bit, ok := b[c.Identity]; ok {
			next[c.Identity] = bit
			users[bit]++
		}
	}
	for _, c := range conditions {
		if _, ok := next[c.Identity]; ok {
			continue
		}
		least := 0
		for bit := range users {
			if users[bit] < users[least] {
				least = bit
			}
		}
		next[c.Identity] = least
		users[least]++
	}
	return next
}

func (b identityBitmap) mask(identity string) uint64 {
	bit, ok := b[identity]
	if !ok {
		return 0
	}
	return 1 << bit
}

// sharedBits returns the bits that several identities have.
func (b identityBitmap) sharedBits() uint64 {
	var seen, shared uint64
	for _, bit := range b {
		shared |= seen & (1 << bit)
		seen |= 1 << bit
	}
	return shared
}

// Identified tells the kernel that the caller of this flow has an identity: its
// connections count as that identity's, and where no agent answers it is known to
// be nobody's bystander. So is, where the identity asks nothing that another process
// with the same file, user and cgroup could lack, every such process.
func (p *Probe) Identified(f workload.Flow, identity string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	bit, ok := p.bits[identity]
	if !ok || f.Generation != p.settings.Generation {
		return // of another configuration: what matches now is found out next time
	}
	told := bpf.ProcessIdentified{
		Cgroup: f.CgroupID, Generation: f.Generation,
		Tgid: f.Image.PID, Uid: f.UID, Gid: f.GID, Identity: uint32(bit) + 1,
	}
	told.Image.StartTime, told.Image.ExecId = f.Image.StartTime, f.Image.ExecID
	if _, err := tell(p.process.LanyardIdentified, &told); err != nil {
		p.log.Warn("cannot tell the kernel of an identity; its process counts as a stranger's", "identity", identity, "error", err)
		return
	}
	if mask := uint64(1) << bit; f.File == (workload.FileID{}) || p.watch.exact&mask == 0 || p.watch.fileAny&mask != 0 {
		return
	}
	if err := p.learnt.recognise(fileKey(f.File), bit, p.watch.count); err != nil {
		p.log.Warn("cannot tell the kernel of an identity's executable", "identity", identity, "error", err)
	}
}
