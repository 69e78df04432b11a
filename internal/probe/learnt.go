//go:build linux

package probe

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// learnt is what the kernel was told of files and cgroups. The probe's lock guards it.
type learnt struct {
	files, roots, cgroups, told *ebpf.Map

	named      map[bpf.ConnectFileId]uint64 // stand at paths that identities name
	recognised map[bpf.ConnectFileId]uint64 // were run by processes that have an identity
	order      [identityBits][]bpf.ConnectFileId
	namedRoots map[uint64]uint64
	paths      map[uint64]string // of cgroups that were told
}

func newLearnt(o *bpf.ConnectObjects) *learnt {
	return &learnt{
		files: o.Files, roots: o.CgroupRoots, cgroups: o.Cgroups, told: o.CgroupsTold,
		named: map[bpf.ConnectFileId]uint64{}, recognised: map[bpf.ConnectFileId]uint64{},
		namedRoots: map[uint64]uint64{}, paths: map[uint64]string{},
	}
}

// inherit takes what a former agent told for recognised: where it stands at a path that
// is named, that is found soon.
func (l *learnt) inherit(identities int) error {
	files, err := entriesOf[bpf.ConnectFileId, uint64](l.files)
	if err != nil {
		return fmt.Errorf("read files: %w", err)
	}
	l.named = files // so that none is missing meanwhile
	for file, mask := range files {
		for bit := range identityBits {
			if mask&(1<<bit) == 0 {
				continue
			}
			if err := l.recognise(file, bit, identities); err != nil {
				return err
			}
		}
	}
	if err := l.nameFiles(map[bpf.ConnectFileId]uint64{}); err != nil {
		return err
	}
	if l.namedRoots, err = entriesOf[uint64, uint64](l.roots); err != nil {
		return fmt.Errorf("read cgroups: %w", err)
	}
	return nil
}

// forget is for other conditions than those under which all this was found out: what was
// found out about identities that ask the same as before is kept. Cgroups that were told
// are judged again.
func (l *learnt) forget(unchanged uint64, judge func(path string) uint64) error {
	if err := l.forgetFiles(unchanged); err != nil {
		return fmt.Errorf("forget files: %w", err)
	}
	if err := keepBits(l.roots, l.namedRoots, unchanged); err != nil {
		return fmt.Errorf("forget cgroups: %w", err)
	}
	if err := l.judgeAgain(judge); err != nil {
		return fmt.Errorf("judge cgroups: %w", err)
	}
	return nil
}

func (l *learnt) forgetFiles(unchanged uint64) error {
	for file := range l.recognised {
		if l.recognised[file] &= unchanged; l.recognised[file] == 0 {
			delete(l.recognised, file)
		}
	}
	for bit := range l.order {
		if unchanged&(1<<bit) == 0 {
			l.order[bit] = nil
		}
	}
	for file := range l.named {
		if l.named[file] &= unchanged; l.named[file] == 0 {
			delete(l.named, file)
		}
	}
	held, err := entriesOf[bpf.ConnectFileId, uint64](l.files)
	if err != nil {
		return err
	}
	for file := range held {
		if err := l.putFile(file); err != nil {
			return err
		}
	}
	return nil
}

// keepBits leaves these identities in a table of masks, and in what is known of it.
func keepBits(table *ebpf.Map, known map[uint64]uint64, bits uint64) error {
	held, err := entriesOf[uint64, uint64](table)
	if err != nil {
		return err
	}
	for key := range held {
		mask := known[key] & bits
		if mask == 0 {
			delete(known, key)
			err = table.Delete(key)
		} else {
			known[key] = mask
			err = table.Put(key, mask)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// judgeAgain tells of cgroups anew. Those that a former agent told are found out again
// when a process of theirs connects.
func (l *learnt) judgeAgain(judge func(path string) uint64) error {
	told, err := entriesOf[uint64, uint64](l.told)
	if err != nil {
		return err
	}
	for id := range told {
		path, known := l.paths[id]
		if mask := judge(path); known && mask != 0 {
			err = l.told.Put(id, mask)
		} else {
			delete(l.paths, id)
			err = l.told.Delete(id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// recognise notes that a file fulfils what an identity asks of its executable. Each
// identity has its part of the table: beyond that, the file that it learnt first gives
// way, and none of another's.
func (l *learnt) recognise(file bpf.ConnectFileId, bit, identities int) error {
	mask := uint64(1) << bit
	if l.recognised[file]&mask != 0 {
		return nil
	}
	order := &l.order[bit]
	if len(*order) >= maxConditions/max(1, min(identities, identityBits)) {
		first := (*order)[0]
		*order = slices.Delete(*order, 0, 1)
		if l.recognised[first] &^= mask; l.recognised[first] == 0 {
			delete(l.recognised, first)
		}
		if err := l.putFile(first); err != nil {
			return err
		}
	}
	*order = append(*order, file)
	l.recognised[file] |= mask
	return l.putFile(file)
}

// nameFiles says which files stand at the paths that identities name. One that stood
// there before is named no more.
func (l *learnt) nameFiles(files map[bpf.ConnectFileId]uint64) error {
	before := l.named
	l.named = files
	var errs []error
	for file := range before {
		if _, ok := files[file]; ok {
			continue
		}
		if err := l.putFile(file); err != nil {
			l.named[file] = 0 // is tried again
			errs = append(errs, err)
		}
	}
	for file, mask := range files {
		if before[file] == mask {
			continue
		}
		if err := l.putFile(file); err != nil {
			delete(l.named, file) // is tried again
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (l *learnt) putFile(file bpf.ConnectFileId) error {
	var err error
	if mask := l.named[file] | l.recognised[file]; mask != 0 {
		err = l.files.Put(&file, mask)
	} else if err = l.files.Delete(&file); errors.Is(err, ebpf.ErrKeyNotExist) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("note file: %w", err)
	}
	return nil
}

// nameCgroups says which cgroups stand at the paths that identities name.
func (l *learnt) nameCgroups(cgroups map[uint64]uint64) error {
	if maps.Equal(l.namedRoots, cgroups) {
		return nil
	}
	var errs []error
	for id := range l.namedRoots {
		if _, ok := cgroups[id]; ok {
			continue
		}
		if err := l.roots.Delete(id); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("drop cgroup: %w", err))
			continue
		}
		delete(l.namedRoots, id)
	}
	for id, mask := range cgroups {
		if err := l.roots.Put(id, mask); err != nil {
			errs = append(errs, fmt.Errorf("note cgroup: %w", err))
			continue
		}
		l.namedRoots[id] = mask
	}
	// What was found out of cgroups was so by the table of before.
	return errors.Join(append(errs, clear[uint64, bpf.ConnectCgroupFacts](l.cgroups))...)
}

func fileKey(f workload.FileID) bpf.ConnectFileId {
	return bpf.ConnectFileId{
		Inode: f.Inode, Size: f.Size, Ctime: f.ChangeTime, CtimeNs: f.ChangeNanoseconds,
		Device: f.Device, Generation: f.Generation,
	}
}

// LearnCgroup tells the kernel which identities a process in this cgroup can
// have, so that the others' callers become bystanders.
func (p *Probe) LearnCgroup(id uint64, path string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watch.cgroupOpen == 0 {
		return nil
	}
	if err := p.learnt.tellCgroup(id, path, p.watch.cgroupMask(path)); err != nil {
		return fmt.Errorf("learn cgroup %s: %w", path, err)
	}
	return nil
}

func (l *learnt) tellCgroup(id uint64, path string, mask uint64) error {
	if mask != 0 {
		err := l.told.Put(id, mask)
		if errors.Is(err, unix.E2BIG) { // with cgroups that are gone
			maps.DeleteFunc(l.paths, func(uint64, string) bool { return true })
			err = errors.Join(clear[uint64, uint64](l.told), l.told.Put(id, mask))
		}
		if err != nil {
			return err
		}
		l.paths[id] = path
	}
	var facts bpf.ConnectCgroupFacts
	if err := l.cgroups.Lookup(id, &facts); err != nil {
		return nil // found out when the next process of it connects
	}
	if facts.Possible == mask && facts.Certain == mask {
		return nil
	}
	facts.Possible, facts.Certain = mask, mask
	return l.cgroups.Put(id, &facts)
}
