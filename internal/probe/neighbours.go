//go:build linux

package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// maxNeighbours bounds how many folders of instances are looked at, and how many links
// of a hook in one.
const maxNeighbours = 64

// neighbour is an instance's pin folder.
type neighbour struct {
	path     string
	dead     bool             // no agent has it
	attached bool             // connect hooks in it are attached to a cgroup
	programs []ebpf.ProgramID // that its connect hooks run
}

func (n neighbour) String() string {
	name, path := filepath.Base(n.path), n.path
	if !instanceName.MatchString(name) {
		name, path = fmt.Sprintf("%q", name), fmt.Sprintf("%q", path)
	}
	return fmt.Sprintf("hooks of instance %s, whose agent is stopped or dead, refuse what they were told to: "+
		"start that agent again, or remove them with rm -r %s", name, path)
}

// neighbours reads the folders of all instances, ours among them: what is pinned in that
// is ours, or will be replaced.
func (d *deadAgents) neighbours() ([]neighbour, error) {
	folders, err := foldersIn(d.pins.parent())
	if err != nil {
		return nil, err
	}
	var all []neighbour
	var errs []error
	for _, folder := range folders {
		n := neighbour{path: folder}
		n.read()
		if folder != d.pins.instance && n.attached {
			locked, err := isLocked(folder)
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				errs = append(errs, err)
			}
			n.dead = err == nil && !locked
		}
		all = append(all, n)
	}
	return all, errors.Join(errs...)
}

// foldersIn lists some folders of a folder, in order.
func foldersIn(folder string) ([]string, error) {
	dir, err := os.Open(folder)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // it is made again with ours
	}
	if err != nil {
		return nil, fmt.Errorf("look for other instances: %w", err)
	}
	defer dir.Close()
	entries, _ := dir.ReadDir(maxNeighbours) // none if it was removed meanwhile
	var folders []string
	for _, e := range entries {
		if e.IsDir() {
			folders = append(folders, filepath.Join(folder, e.Name()))
		}
	}
	slices.Sort(folders)
	return folders, nil
}

// read reads the links of the connect hooks, of whatever version. What goes away
// meanwhile, or is no link, refuses nothing.
func (n *neighbour) read() {
	for _, hook := range connectHooks {
		pins, _ := filepath.Glob(filepath.Join(escapeGlob(n.path), "v*", "links", hook+"-*"))
		for _, pin := range pins[:min(len(pins), maxNeighbours)] {
			l, err := link.LoadPinnedLink(pin, nil)
			if err != nil {
				continue
			}
			if info, err := l.Info(); err == nil {
				n.programs = append(n.programs, info.Program)
				place := info.Cgroup()
				n.attached = n.attached || place != nil && place.CgroupId != 0 // 0 once that is removed
			}
			_ = l.Close() // the pin keeps it
		}
	}
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
