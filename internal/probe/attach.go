//go:build linux

package probe

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// hookSet is the hooks of a probe: which programs, where each is attached, and
// whether it still is. It is safe for concurrent use.
type hookSet struct {
	log    *slog.Logger
	pins   *pinFolder
	maps   map[string]*ebpf.Map // that are pinned, by name of the pin
	cgroup string               // that was named to attach to
	own    uint64               // id of the agent's own cgroup
	hooks  []hook
	canary func() []error // asks the connect hooks what they see
	doubt  func()         // has whoever knows an image ask whether it is still so
	forget func() error   // ends the record of every image

	mu         sync.Mutex           // guards what follows
	attached   map[string]link.Link // by name of the pin
	stopping   bool
	seesItself bool // the agent is among those that the hooks see

	// missed says that ends of images may have been missed, and that what was known
	// of images has not been forgotten since.
	missed   atomic.Bool
	wrong    atomic.Pointer[error] // what was found wrong last with what the hooks see
	unpinned atomic.Pointer[error] // and with the pins
}

// A hook is one program and where it is attached. Its pin's name ends in what it
// is attached to, so that a takeover for another cgroup, or by another program,
// can stand beside the old link until that is removed: never a moment without.
type hook struct {
	name    string
	program *ebpf.Program
	attach  ebpf.AttachType // of a cgroup hook; tracing programs carry theirs
	cgroup  bool
}

// keepsImages reports whether the record of images is in step with what runs only while
// this hook is attached.
func (h hook) keepsImages() bool { return !h.cgroup }

// hooks lists all, in the order in which they are attached.
func (p *Probe) hooks() []hook {
	return []hook{
		// The image map must be kept before anything is written into it.
		{name: "exec", program: p.process.LanyardExec},
		{name: "fork", program: p.process.LanyardFork},
		{name: "exit", program: p.process.LanyardExit},
		{name: "getpeername4", program: p.connect.LanyardGetpeername4, attach: ebpf.AttachCgroupInet4GetPeername, cgroup: true},
		{name: "getpeername6", program: p.connect.LanyardGetpeername6, attach: ebpf.AttachCgroupInet6GetPeername, cgroup: true},
		{name: "getsockname4", program: p.connect.LanyardGetsockname4, attach: ebpf.AttachCgroupInet4GetSockname, cgroup: true},
		{name: "getsockname6", program: p.connect.LanyardGetsockname6, attach: ebpf.AttachCgroupInet6GetSockname, cgroup: true},
		// Flows must reach accepted sockets before anything is redirected.
		{name: sockopsHook, program: p.handshake.Sockops, attach: ebpf.AttachCGroupSockOps, cgroup: true},
		{name: "setsockopt", program: p.handshake.Setsockopt, attach: ebpf.AttachCGroupSetsockopt, cgroup: true},
		{name: "connect4", program: p.connect.LanyardConnect4, attach: ebpf.AttachCGroupInet4Connect, cgroup: true},
		{name: "connect6", program: p.connect.LanyardConnect6, attach: ebpf.AttachCGroupInet6Connect, cgroup: true},
	}
}

const sockopsHook = "sockops"

// connectHooks are those that redirect, and refuse.
var connectHooks = []string{"connect4", "connect6"}

// attach attaches and pins all, and takes over what a former agent left.
func (s *hookSet) attach() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.attachAll(); err != nil {
		return err
	}
	_, err := s.pin()
	return err
}

// attachAll attaches what is not attached. Where that leaves it open whether an image
// on record still runs, none stays on record.
func (s *hookSet) attachAll() error {
	named, err := openCgroup(s.cgroup)
	if err != nil {
		return err
	}
	defer named.close()
	for _, h := range s.hooks {
		places := []*cgroupDir{named}
		if h.name == sockopsHook {
			own, err := s.ownCgroup(named)
			if err != nil {
				return err
			}
			if own != nil {
				defer own.close()
				places = append(places, own)
			}
		}
		if err := s.attachHook(h, places); err != nil {
			return fmt.Errorf("attach %s: %w", h.name, err)
		}
	}
	if !s.missed.Load() {
		return nil
	}
	if err := s.forget(); err != nil {
		return fmt.Errorf("forget images whose end may have been missed: %w", err)
	}
	s.missed.Store(false)
	return nil
}

// ownCgroup returns the agent's own cgroup if the one that is attached to does not
// hold it: sockops runs for the listener's end of a handshake as well.
func (s *hookSet) ownCgroup(named *cgroupDir) (*cgroupDir, error) {
	own, err := named.byID(s.own)
	if err != nil {
		return nil, fmt.Errorf("find the agent's own cgroup: %w; without it, connections could not be told apart", err)
	}
	if s.seesItself = own.isIn(named); s.seesItself {
		own.close()
		return nil, nil
	}
	return own, nil
}

func (s *hookSet) attachHook(h hook, places []*cgroupDir) error {
	if !h.cgroup {
		places = places[:1]
	}
	keep := map[string]bool{}
	for _, place := range places {
		pin, err := pinName(h, place.id)
		if err != nil {
			return err
		}
		keep[pin] = true
		if err := s.attachOne(h, place, pin); err != nil {
			return err
		}
	}
	for name, l := range s.attached {
		if strings.HasPrefix(name, h.name+"-") && !keep[name] {
			delete(s.attached, name)
			_ = l.Close() // its cgroup is gone, or another's turn
		}
	}
	return nil
}

func (s *hookSet) attachOne(h hook, place *cgroupDir, pin string) error {
	if s.attached[pin] != nil {
		return nil
	}
	if err := s.noteGap(h, pin); err != nil {
		return err
	}
	path := filepath.Join(s.pins.links(), pin)
	l, err := link.LoadPinnedLink(path, nil)
	if err == nil {
		if err = takeOver(l, h); err != nil { // the link of a cgroup that is gone
			err = errors.Join(os.Remove(path), os.ErrNotExist)
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		l, err = attachNew(h, place.path())
	}
	if err != nil {
		return err
	}
	s.attached[pin] = l
	return nil
}

// noteGap notes that images may have ended unseen until now, if a former agent left no
// link that saw them: a program of another version does, if it keeps the same maps.
func (s *hookSet) noteGap(h hook, pin string) error {
	if !h.keepsImages() || s.missed.Load() {
		return nil
	}
	maps := pin[strings.LastIndex(pin, "-"):]
	entries, err := os.ReadDir(s.pins.links())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("look for links of a former agent: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), h.name+"-") && strings.HasSuffix(e.Name(), maps) {
			return nil
		}
	}
	s.missed.Store(true)
	return nil
}

// pinName says of a cgroup hook where it is attached. That of another says which
// program runs and which maps that keeps: an agent whose maps are others, since somebody
// unlinked those of the former one, must not take that one's link for its own.
func pinName(h hook, cgroup uint64) (string, error) {
	if h.cgroup {
		return fmt.Sprintf("%s-%d", h.name, cgroup), nil
	}
	info, err := h.program.Info()
	if err != nil {
		return "", fmt.Errorf("read program tag: %w", err)
	}
	maps, ok := info.MapIDs()
	if !ok {
		return "", fmt.Errorf("read maps of program %s: the kernel does not say", h.name)
	}
	slices.Sort(maps)
	name := fmt.Sprintf("%s-%s-", h.name, info.Tag)
	for i, id := range maps {
		if i > 0 {
			name += "_"
		}
		name += strconv.FormatUint(uint64(id), 10)
	}
	return name, nil
}

// takeOver makes a link that a former agent left run our program. A tracing
// link cannot be updated, but its pin carries the program's tag and maps: it runs the
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

func attachNew(h hook, cgroup string) (link.Link, error) {
	if h.cgroup {
		return link.AttachCgroup(link.CgroupOptions{Path: cgroup, Attach: h.attach, Program: h.program})
	}
	return link.AttachTracing(link.TracingOptions{Program: h.program})
}

// close lets go of the links. Their pins, where there are any, keep them.
func (s *hookSet) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	var errs []error
	for _, l := range s.attached {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
