//go:build linux

package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// releaseLimit is how long the kernel may take to free BPF objects that nobody
// holds any longer; it waits for RCU grace periods.
const releaseLimit = 10 * time.Second

// BPFObjects are the BPF objects that a process holds, by their kernel ids.
type BPFObjects struct {
	Programs []uint32
	Maps     []uint32
	Links    []uint32
}

// HeldBPF lists the BPF objects that a process has open.
func HeldBPF(t testing.TB, pid int) BPFObjects {
	t.Helper()
	folder := filepath.Join("/proc", strconv.Itoa(pid), "fdinfo")
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatalf("list open files of process %d: %v", pid, err)
	}
	var held BPFObjects
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		held.add(string(content))
	}
	return held
}

// add takes the ids from the content of a file in /proc/PID/fdinfo. A link names
// its program too.
func (o *BPFObjects) add(fdinfo string) {
	for line := range strings.Lines(fdinfo) {
		key, value, _ := strings.Cut(line, ":")
		id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
		if err != nil {
			continue
		}
		switch key {
		case "prog_id":
			o.Programs = append(o.Programs, uint32(id))
		case "map_id":
			o.Maps = append(o.Maps, uint32(id))
		case "link_id":
			o.Links = append(o.Links, uint32(id))
		}
	}
}

// Entries counts what stands in each of the hash maps, by the map's name.
func (o BPFObjects) Entries(t testing.TB) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, id := range o.Maps {
		m, err := ebpf.NewMapFromID(ebpf.MapID(id))
		if err != nil {
			t.Fatalf("open BPF map %d: %v", id, err)
		}
		name, count, err := countEntries(m)
		m.Close()
		if err != nil {
			t.Fatalf("count entries of BPF map %d: %v", id, err)
		}
		if name != "" {
			counts[name] = count
		}
	}
	return counts
}

// countEntries counts what stands in a hash map, by its keys. Maps of other kinds
// have no name here: they are as full as they are large, or cannot be read through.
func countEntries(m *ebpf.Map) (name string, count int, err error) {
	if m.Type() != ebpf.Hash && m.Type() != ebpf.LRUHash {
		return "", 0, nil
	}
	info, err := m.Info()
	if err != nil {
		return "", 0, err
	}
	key, next := []byte(nil), make([]byte, m.KeySize())
	for ; err == nil; count++ {
		if key == nil {
			err = m.NextKey(nil, next)
		} else {
			err = m.NextKey(key, next)
		}
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return info.Name, count, nil
		}
		key = append(key[:0], next...)
	}
	return "", 0, err
}

// RequireGone waits until the kernel has none of the objects any longer, and
// fails the test when one remains.
func (o BPFObjects) RequireGone(t testing.TB) {
	t.Helper()
	if err := waitFor(releaseLimit, o.checkGone); err != nil {
		t.Errorf("left behind: %v", err)
	}
}

// checkGone returns an error that names the objects which still exist.
func (o BPFObjects) checkGone() error {
	var remaining []error
	for _, id := range o.Links {
		l, err := link.NewFromID(link.ID(id))
		remaining = append(remaining, stillThere("BPF link", id, l, err))
	}
	for _, id := range o.Programs {
		program, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
		remaining = append(remaining, stillThere("BPF program", id, program, err))
	}
	for _, id := range o.Maps {
		m, err := ebpf.NewMapFromID(ebpf.MapID(id))
		remaining = append(remaining, stillThere("BPF map", id, m, err))
	}
	return errors.Join(remaining...)
}

func stillThere(kind string, id uint32, object io.Closer, err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up %s %d: %w", kind, id, err)
	}
	object.Close()
	return fmt.Errorf("%s %d still exists", kind, id)
}
