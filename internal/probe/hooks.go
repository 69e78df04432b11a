//go:build linux

package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// mend looks whether every hook is where it belongs and pinned, attaches and pins anew
// what is not, and keeps what is still wrong for the probe to say. A cgroup that was
// removed, as a unit's is when it restarts, took its hooks with it.
func (s *hookSet) mend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return nil
	}
	found := errors.Join(s.check()...)
	wrong := found
	if found != nil || s.missed.Load() {
		if wrong = s.attachAll(); wrong == nil {
			wrong = errors.Join(s.check()...)
		}
	}
	if wrong == nil && s.seesItself {
		wrong = errors.Join(s.canary()...)
	}
	s.tell(found, wrong)
	s.tellPins(s.pin())
	return nil
}

// tell logs what changed, not every second what did not.
func (s *hookSet) tell(found, wrong error) {
	before := errorIn(&s.wrong)
	s.wrong.Store(&wrong)
	switch {
	case wrong != nil && (before == nil || before.Error() != wrong.Error()):
		s.log.Error("the hooks do not see what they have to; requests may leave without a token", "error", wrong)
	case wrong == nil && found != nil:
		s.log.Warn("hooks were not as they should be, and were mended", "found", found)
	case wrong == nil && before != nil:
		s.log.Info("the hooks are as they should be again")
	}
}

// tellPins does the same for pins.
func (s *hookSet) tellPins(made []string, wrong error) {
	before := errorIn(&s.unpinned)
	s.unpinned.Store(&wrong)
	switch {
	case wrong != nil && (before == nil || before.Error() != wrong.Error()):
		s.log.Error("hooks and maps are not pinned; they work, but if the agent crashed they would end, and leave closed destinations open", "error", wrong)
	case wrong == nil && len(made) > 0:
		s.log.Warn("hooks or maps were not pinned, and are again", "pins", made)
	case wrong == nil && before != nil:
		s.log.Info("hooks and maps are pinned again")
	}
}

func errorIn(p *atomic.Pointer[error]) error {
	if err := p.Load(); err != nil {
		return *err
	}
	return nil
}

// Hooks returns nil if the hooks are attached and see connects, as of a second ago.
func (p *Probe) Hooks() error { return errorIn(&p.hookSet.wrong) }

// Pins returns nil if all that a crash of the agent has to leave behind is pinned, as of
// a second ago. What Hooks says does not depend on it.
func (p *Probe) Pins() error { return errorIn(&p.hookSet.unpinned) }

// check compares each link with what it is to be. What does not fit is let go,
// so that attachAll makes it again.
func (s *hookSet) check() []error {
	named, err := cgroupID(s.cgroup)
	if err != nil {
		return []error{err}
	}
	var wrong []error
	for _, h := range s.hooks {
		if err := s.checkHook(h, named); err != nil {
			wrong = append(wrong, err)
			if h.keepsImages() {
				s.missed.Store(true)
				s.doubt()
			}
		}
	}
	return wrong
}

func (s *hookSet) checkHook(h hook, named uint64) error {
	pin, err := pinName(h, named)
	if err != nil {
		return err
	}
	var wrong []error
	switch {
	case s.attached[pin] != nil:
	case h.cgroup:
		wrong = append(wrong, fmt.Errorf("hook %s is not attached to %s", h.name, s.cgroup))
	default:
		wrong = append(wrong, fmt.Errorf("hook %s is not attached", h.name))
	}
	for name, l := range s.attached {
		if !strings.HasPrefix(name, h.name+"-") {
			continue
		}
		if err := s.checkLink(h, name, named, l); err != nil {
			wrong = append(wrong, err)
			delete(s.attached, name)
			_ = l.Close() // it is of no use
			_ = os.Remove(filepath.Join(s.pins.links(), name))
		}
	}
	return errors.Join(wrong...)
}

func programID(h hook) (ebpf.ProgramID, error) {
	info, err := h.program.Info()
	if err != nil {
		return 0, fmt.Errorf("read program: %w", err)
	}
	id, _ := info.ID()
	return id, nil
}

// checkLink says what keeps a link from running our program where it is to. That it is
// not pinned does not.
func (s *hookSet) checkLink(h hook, pin string, named uint64, l link.Link) error {
	info, err := l.Info()
	if err != nil {
		return fmt.Errorf("look at hook %s: %w", h.name, err)
	}
	if !h.cgroup {
		return nil // no link of this kind can be detached or given another program
	}
	if place := info.Cgroup(); place == nil || place.CgroupId == 0 {
		if s.stands(h, pin, named) {
			return fmt.Errorf("hook %s was detached from its cgroup", h.name)
		}
		return fmt.Errorf("hook %s: its cgroup was removed", h.name)
	}
	if ours, err := programID(h); err != nil || info.Program != ours {
		return fmt.Errorf("hook %s runs another program than ours", h.name)
	}
	return nil
}

// stands reports whether the cgroup that a pin's hook was attached to is there. An id is
// never given to another.
func (s *hookSet) stands(h hook, pin string, named uint64) bool {
	for _, id := range []uint64{named, s.own} {
		if name, err := pinName(h, id); err == nil && name == pin {
			return true
		}
	}
	return false
}

// askHooks has a canary connect: the agent must be among those that the hooks see.
// Other programs on the same hooks are normal; it matters only whether
// ours still runs, and what address it is shown.
func (p *Probe) askHooks() []error {
	var wrong []error
	for _, to := range []netip.AddrPort{
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), canaryPort),
		netip.AddrPortFrom(netip.IPv6Loopback(), canaryPort),
	} {
		switch seen, err := p.seen(to); {
		case err != nil:
			wrong = append(wrong, err)
		case !seen.IsValid():
			wrong = append(wrong, fmt.Errorf("the connect hook did not see a connection of our own to %v; another program on the cgroup may keep it from running", to))
		case seen != to:
			wrong = append(wrong, fmt.Errorf("the connect hook saw a connection of our own to %v as one to %v; another program on the cgroup rewrites addresses before ours", to, seen))
		}
	}
	return wrong
}

// canaryPort is tcpmux's, where hardly anybody listens; nothing is sent there.
const canaryPort = 1
