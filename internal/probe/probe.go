//go:build linux

package probe

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/logbudget"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Config says where the probe lives.
type Config struct {
	Cgroup   string // absolute path of the cgroup2 folder to attach to; its descendants are seen too
	BPFFS    string // mount point of the BPF file system, usually /sys/fs/bpf
	Instance string // name of this agent on the host; letters, digits, - and _
	// Connections are how many redirected connections there may ever be at once, whose
	// accepting side turns none away; beyond a caller's share of them, it meets the fail
	// policy.
	Connections int
	Logger      *slog.Logger

	types *btf.Cache // the kernel's types, if they have been read already
	// olderKernel has the hooks refuse as they do where they cannot name an error.
	olderKernel bool
}

// Probe is the loaded and attached kernel half. It is safe for concurrent use.
type Probe struct {
	log     *slog.Logger
	lines   *logbudget.Budget // of warnings that strangers can cause
	pins    *pinFolder
	connect bpf.ConnectObjects
	process bpf.ProcessObjects
	// handshake is what is attached to the cgroup; the other program of its object goes
	// to network namespaces.
	handshake struct {
		Sockops    *ebpf.Program `ebpf:"lanyard_sockops"`
		Setsockopt *ebpf.Program `ebpf:"lanyard_setsockopt"`
	}

	hookSet    *hookSet
	deadAgents *deadAgents
	events     events
	epochs     *ebpf.Memory
	heartbeat  *ebpf.Memory
	budgets    budgets
	self       workload.Image
	home       uint64 // cookie of the network namespace of whoever opened the probe

	cgroupRoot string // mount point of cgroup2, "" if it cannot be seen whole

	barrier *ebpf.Map // see waitForPrograms

	mu          sync.Mutex // guards what the kernel has been told, below
	watch       compiledWatch
	settings    bpf.ConnectSettings
	former      *bpf.ConnectSettings // what a former agent left, until Apply changes the tables that they speak of
	direct      map[uint64]link.Link // what turns strangers away from listeners, by namespace
	stopping    bool                 // nothing is announced any more
	ownPorts    map[uint16]bool
	prefixes    map[bpf.ConnectPrefixKey]bool
	closed      map[bpf.ConnectPrefixKey]bpf.ConnectClosed
	sources     map[bpf.ConnectSourceKey]bpf.ConnectAddress
	portsInUse  map[uint16]uint32 // flags by port, as in the kernel
	connections int
	bits        identityBitmap
	learnt      *learnt
	relearn     chan struct{} // wakes whoever learns files and cgroups
}

// Open loads the kernel half, takes over what a former agent of the same
// instance left, and attaches it. Nothing is watched until Apply. It refuses if
// another agent runs under the same instance.
func Open(cfg Config) (*Probe, error) {
	if err := Check(); err != nil {
		return nil, err
	}
	pins, err := openPins(cfg.BPFFS, cfg.Instance, cfg.Logger)
	if err != nil {
		return nil, err
	}
	p := &Probe{
		log: cfg.Logger, lines: logbudget.New(logbudget.Config{}), pins: pins,
		ownPorts: map[uint16]bool{}, prefixes: map[bpf.ConnectPrefixKey]bool{},
		closed: map[bpf.ConnectPrefixKey]bpf.ConnectClosed{}, portsInUse: map[uint16]uint32{},
		sources:     map[bpf.ConnectSourceKey]bpf.ConnectAddress{},
		connections: cfg.Connections, bits: identityBitmap{}, direct: map[uint64]link.Link{},
		relearn: make(chan struct{}, 1), budgets: budgets{closed: map[uint32]uint64{}},
	}
	p.hookSet = &hookSet{
		log: cfg.Logger, pins: pins, cgroup: cfg.Cgroup,
		attached: map[string]link.Link{}, canary: p.askHooks, doubt: p.moveEpochs, forget: p.forgetImages,
	}
	p.deadAgents = &deadAgents{log: cfg.Logger, pins: pins, cgroup: cfg.Cgroup, hooks: p.hooks, young: startLimit}
	if cfg.types == nil {
		cfg.types = btf.NewCache()
	}
	if err := p.open(&cfg); err != nil {
		return nil, errors.Join(err, p.Abandon())
	}
	p.deadAgents.look()
	return p, nil
}

func (p *Probe) open(cfg *Config) error {
	for _, step := range []func() error{
		func() error { return p.load(cfg) }, p.mapShared, p.recogniseSelf, p.inherit,
		func() error { p.hookSet.hooks = p.hooks(); return p.hookSet.attach() },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// Replace removes what an agent with another layout of the maps left. Call it when
// this one answers and has told the kernel what is closed: until then the hooks of the
// other refuse what they refused.
func (p *Probe) Replace() error { return p.pins.removeOtherVersions() }

// load loads the objects. Maps are pinned by name, so that all objects, and the
// agent after this one, have the same; the kernel's types, some megabytes, are read once
// for all.
func (p *Probe) load(cfg *Config) error {
	options := &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: p.pins.maps()}, Cache: cfg.types}
	connect, err := loadSpec(bpf.LoadConnect)
	if err != nil {
		return fmt.Errorf("read connect programs: %w", err)
	}
	if namesErrors() && !cfg.olderKernel {
		if err := connect.Variables["names_errors"].Set(uint32(1)); err != nil {
			return fmt.Errorf("set names_errors of the connect programs: %w", err)
		}
	}
	handshake, err := loadSpec(bpf.LoadHandshake)
	if err != nil {
		return fmt.Errorf("read handshake programs: %w", err)
	}
	process, err := loadSpec(bpf.LoadProcess)
	if err != nil {
		return fmt.Errorf("read process programs: %w", err)
	}
	if err := connect.LoadAndAssign(&p.connect, options); err != nil {
		return explain("connect programs", err)
	}
	if err := handshake.LoadAndAssign(&p.handshake, options); err != nil {
		return explain("handshake programs", err)
	}
	if err := process.LoadAndAssign(&p.process, options); err != nil {
		return explain("process programs", err)
	}
	p.hookSet.maps = pinnedMaps(&p.connect.ConnectMaps, &p.process.ProcessMaps)
	return nil
}

// loadSpec reads an object whose maps, but for its own constants, are shared by pins.
func loadSpec(load func() (*ebpf.CollectionSpec, error)) (*ebpf.CollectionSpec, error) {
	spec, err := load()
	if err != nil {
		return nil, err
	}
	for name, m := range spec.Maps {
		if isShared(name) {
			m.Pinning = ebpf.PinByName
		}
	}
	return spec, nil
}

// isShared reports whether a map is more than an object's own constants.
func isShared(name string) bool { return !strings.HasPrefix(name, ".") }

func (p *Probe) mapShared() (err error) {
	if p.epochs, err = p.process.Epochs.Memory(); err != nil {
		return fmt.Errorf("map epochs: %w", err)
	}
	if p.heartbeat, err = p.connect.Heartbeat.Memory(); err != nil {
		return fmt.Errorf("map heartbeat: %w", err)
	}
	if p.budgets.memory, err = p.connect.Budgets.Memory(); err != nil {
		return fmt.Errorf("map budgets: %w", err)
	}
	if err = p.openEvents(); err != nil {
		return err
	}
	if p.barrier, err = newBarrier(); err != nil {
		return fmt.Errorf("make barrier: %w", err)
	}
	return nil
}

// recogniseSelf asks the kernel who this process is, which it cannot know itself
// in namespaces of its own, and where it is at home.
func (p *Probe) recogniseSelf() error {
	var answer bpf.ProcessWhoami
	ret, err := p.process.LanyardWhoami.Run(&ebpf.RunOptions{Context: &answer, ContextOut: &answer})
	if err != nil || ret != 0 {
		return fmt.Errorf("recognise the agent's own process: result %d: %w", ret, err)
	}
	self := answer.Self
	p.self = workload.Image{PID: self.Tgid, StartTime: self.Image.StartTime, ExecID: self.Image.ExecId}
	p.hookSet.own = answer.Cgroup
	p.cgroupRoot, _ = CgroupRootFor(p.hookSet.cgroup) // without it, conditions on a cgroup are user space's to judge
	p.home, err = netnsHere()
	return err
}

// Self returns the agent's own process image, with its id in the initial PID
// namespace.
func (p *Probe) Self() workload.Image { return p.self }

// Inherited reports whether a former agent left hooks and pins, which this one has taken
// over.
func (p *Probe) Inherited() bool { return p.pins.inherited }

// Abandon ends an agent that could not start. What a former one left goes on holding the
// fail policy, as it was told to; without a former one, nothing remains.
func (p *Probe) Abandon() error {
	if !p.pins.inherited {
		return p.Close()
	}
	return errors.Join(p.restoreSettings(), p.Leave())
}

// Close lets go of the kernel half and removes it: hooks and pins of this agent, so that
// all connections go their own way. A clean stop is Leave.
func (p *Probe) Close() error {
	return errors.Join(p.pins.removeVersion(), p.Leave())
}

// Leave lets go of the kernel half and leaves it in place: with no listener and no
// heartbeat, the fail policy holds for candidates.
func (p *Probe) Leave() error {
	if p.heartbeat != nil {
		writeWord(p.heartbeat, 0, 0)
	}
	errs := []error{p.closeEvents()}
	for _, l := range p.direct {
		errs = append(errs, l.Close())
	}
	errs = append(errs, p.hookSet.close(), p.barrier.Close(), p.handshake.Sockops.Close(), p.handshake.Setsockopt.Close(), p.process.Close(), p.connect.Close(), p.pins.release())
	return errors.Join(errs...)
}

// PinFolder returns where this instance's pins are.
func (p *Probe) PinFolder() string { return filepath.Clean(p.pins.instance) }
