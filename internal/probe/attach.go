//go:build linux

package probe

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// A hook is one program and where it is attached. Its pin's name ends in what it
// is attached to, so that a takeover for another cgroup, or by another program,
// can stand beside the old link until that is removed: never a moment without.
type hook struct {
	name    string
	program *ebpf.Program
	attach  ebpf.AttachType // of a cgroup hook; tracing programs carry theirs
	cgroup  bool
}

func (p *Probe) hooks() []hook {
	return []hook{
		// The image map must be kept before anything is written into it.
		{name: "exec", program: p.process.LanyardExec},
		{name: "fork", program: p.process.LanyardFork},
		{name: "exit", program: p.process.LanyardExit},
		// Flows must be withdrawn before anything publishes them.
		{name: "sock_release", program: p.connect.LanyardSockRelease, attach: ebpf.AttachCgroupInetSockRelease, cgroup: true},
		{name: "getpeername4", program: p.connect.LanyardGetpeername4, attach: ebpf.AttachCgroupInet4GetPeername, cgroup: true},
		{name: "getpeername6", program: p.connect.LanyardGetpeername6, attach: ebpf.AttachCgroupInet6GetPeername, cgroup: true},
		{name: "sockops", program: p.connect.LanyardSockops, attach: ebpf.AttachCGroupSockOps, cgroup: true},
		{name: "connect4", program: p.connect.LanyardConnect4, attach: ebpf.AttachCGroupInet4Connect, cgroup: true},
		{name: "connect6", program: p.connect.LanyardConnect6, attach: ebpf.AttachCGroupInet6Connect, cgroup: true},
	}
}

func (p *Probe) attachAll(cgroup string) error {
	id, err := cgroupID(cgroup)
	if err != nil {
		return err
	}
	for _, h := range p.hooks() {
		if err := p.attachOne(h, cgroup, id); err != nil {
			return fmt.Errorf("attach %s: %w", h.name, err)
		}
	}
	return nil
}

func (p *Probe) attachOne(h hook, cgroup string, id uint64) error {
	pin, err := pinName(h, id)
	if err != nil {
		return err
	}
	path := filepath.Join(p.pins.links(), pin)
	l, err := link.LoadPinnedLink(path, nil)
	switch {
	case err == nil:
		err = takeOver(l, h)
	case errors.Is(err, os.ErrNotExist):
		l, err = attachNew(h, cgroup, path)
	}
	if err != nil {
		return err
	}
	p.attached[h.name] = l
	return removeOthers(p.pins.links(), h.name, pin)
}

func pinName(h hook, cgroup uint64) (string, error) {
	if h.cgroup {
		return fmt.Sprintf("%s-%d", h.name, cgroup), nil
	}
	info, err := h.program.Info()
	if err != nil {
		return "", fmt.Errorf("read program tag: %w", err)
	}
	return h.name + "-" + info.Tag, nil
}

// takeOver makes a link that a former agent left run our program. A tracing
// link cannot be updated, but its pin carries the program's tag: it runs the
// same program already.
func takeOver(l link.Link, h hook) error {
	if !h.cgroup {
		return nil
	}
	if err := l.Update(h.program); err != nil {
		return errors.Join(fmt.Errorf("take over link: %w", err), l.Close())
	}
	return nil
}

func attachNew(h hook, cgroup, pin string) (l link.Link, err error) {
	if h.cgroup {
		l, err = link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: h.attach, Program: h.program})
	} else {
		l, err = link.AttachTracing(link.TracingOptions{Program: h.program})
	}
	if err != nil {
		return nil, err
	}
	if err := l.Pin(pin); err != nil {
		return nil, errors.Join(fmt.Errorf("pin link: %w", err), l.Close())
	}
	return l, nil
}

// StopRedirecting is the first half of a clean stop: new connections go their own
// way. Flows that were published can still be claimed, and the ends of images are
// still seen, until Close.
func (p *Probe) StopRedirecting() error {
	var errs []error
	for _, name := range []string{"connect4", "connect6"} {
		if l := p.attached[name]; l != nil {
			delete(p.attached, name)
			errs = append(errs, removeOthers(p.pins.links(), name, ""), l.Close())
		}
	}
	return errors.Join(errs...)
}

func removeOthers(dir, hook, keep string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("remove old links: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), hook+"-") && e.Name() != keep {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("remove old link: %w", err)
			}
		}
	}
	return nil
}
