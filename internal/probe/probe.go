//go:build linux

package probe

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Config says where the probe lives.
type Config struct {
	Cgroup   string // absolute path of the cgroup2 folder to attach to; its descendants are seen too
	BPFFS    string // mount point of the BPF file system, usually /sys/fs/bpf
	Instance string // name of this agent on the host; letters, digits, - and _
	Logger   *slog.Logger
}

// Probe is the loaded and attached kernel half. It is safe for concurrent use.
type Probe struct {
	log     *slog.Logger
	pins    *pinFolder
	connect bpf.ConnectObjects
	process bpf.ProcessObjects

	attached  map[string]link.Link // by name of the hook
	events    *ringbuf.Reader
	epochs    *ebpf.Memory
	heartbeat *ebpf.Memory
	self      workload.Image

	barrier *ebpf.Map // see waitForPrograms

	mu         sync.Mutex // guards what the kernel has been told, below
	watch      compiledWatch
	settings   bpf.ConnectSettings
	ownPorts   map[uint16]bool
	prefixes   map[bpf.ConnectPrefixKey]bool
	closed     map[bpf.ConnectPrefixKey]bool
	portsInUse map[uint16]uint32 // flags by port, as in the kernel
}

// Open loads the kernel half, takes over what a former agent of the same
// instance left, and attaches it. Nothing is watched until Apply. It refuses if
// another agent runs under the same instance.
func Open(cfg Config) (*Probe, error) {
	if err := Check(); err != nil {
		return nil, err
	}
	pins, err := openPins(cfg.BPFFS, cfg.Instance)
	if err != nil {
		return nil, err
	}
	p := &Probe{
		log: cfg.Logger, pins: pins, attached: map[string]link.Link{},
		ownPorts: map[uint16]bool{}, prefixes: map[bpf.ConnectPrefixKey]bool{},
		closed: map[bpf.ConnectPrefixKey]bool{}, portsInUse: map[uint16]uint32{},
	}
	if err := p.open(cfg.Cgroup); err != nil {
		return nil, errors.Join(err, p.abandon())
	}
	return p, nil
}

// abandon ends a failed Open. What a former agent left goes on holding the fail
// policy; without one, nothing may remain.
func (p *Probe) abandon() error {
	if p.pins.inherited {
		return p.Leave()
	}
	return p.Close()
}

func (p *Probe) open(cgroup string) error {
	for _, step := range []func() error{
		p.load, p.mapShared, p.recogniseSelf, p.inherit,
		func() error { return p.attachAll(cgroup) },
		p.pins.removeOtherVersions,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// load loads both objects. Maps are pinned by name, so that both objects, and
// the agent after this one, have the same.
func (p *Probe) load() error {
	options := &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: p.pins.maps()}}
	connect, err := bpf.LoadConnect()
	if err != nil {
		return fmt.Errorf("read connect programs: %w", err)
	}
	process, err := bpf.LoadProcess()
	if err != nil {
		return fmt.Errorf("read process programs: %w", err)
	}
	for _, spec := range []*ebpf.CollectionSpec{connect, process} {
		for _, m := range spec.Maps {
			m.Pinning = ebpf.PinByName
		}
	}
	if err := connect.LoadAndAssign(&p.connect, options); err != nil {
		return explain("connect programs", err)
	}
	if err := process.LoadAndAssign(&p.process, options); err != nil {
		return explain("process programs", err)
	}
	return nil
}

func (p *Probe) mapShared() (err error) {
	if p.epochs, err = p.process.Epochs.Memory(); err != nil {
		return fmt.Errorf("map epochs: %w", err)
	}
	if p.heartbeat, err = p.connect.Heartbeat.Memory(); err != nil {
		return fmt.Errorf("map heartbeat: %w", err)
	}
	if p.events, err = ringbuf.NewReader(p.process.Events); err != nil {
		return fmt.Errorf("open event ring: %w", err)
	}
	if p.barrier, err = newBarrier(); err != nil {
		return fmt.Errorf("make barrier: %w", err)
	}
	return nil
}

// recogniseSelf asks the kernel who this process is, which it cannot know itself
// in a PID namespace, and exempts it.
func (p *Probe) recogniseSelf() error {
	var self bpf.ProcessProcess
	ret, err := p.process.LanyardWhoami.Run(&ebpf.RunOptions{Context: &self, ContextOut: &self})
	if err != nil || ret != 0 {
		return fmt.Errorf("recognise the agent's own process: result %d: %w", ret, err)
	}
	p.self = workload.Image{PID: self.Tgid, StartTime: self.Image.StartTime, ExecID: self.Image.ExecId}
	return nil
}

// Self returns the agent's own process image, with its id in the initial PID
// namespace.
func (p *Probe) Self() workload.Image { return p.self }

// Close is the clean stop: hooks are detached and every pin is removed, so that
// all connections go their own way again.
func (p *Probe) Close() error {
	return errors.Join(p.pins.remove(), p.Leave())
}

// Leave lets go of the kernel half and leaves it in place, as a crash would:
// without a heartbeat, the fail policy holds for candidates.
func (p *Probe) Leave() error {
	var errs []error
	if p.events != nil {
		errs = append(errs, p.events.Close())
	}
	for _, l := range p.attached {
		errs = append(errs, l.Close())
	}
	errs = append(errs, p.barrier.Close(), p.process.Close(), p.connect.Close(), p.pins.release())
	return errors.Join(errs...)
}

// PinFolder returns where this instance's pins are.
func (p *Probe) PinFolder() string { return filepath.Clean(p.pins.instance) }
