//go:build linux

package attribution

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// ErrGone says that the process image of a flow runs no more: the process ended
// or executed another program, and nothing that /proc says now is about it.
var ErrGone = errors.New("the process ended or executed another program")

// ErrLate says that the facts of a process were not there in time. It says
// nothing about the process, and passes.
var ErrLate = errors.New("the facts of the process were not read in time; its executable is large, or on a file system that does not answer")

const (
	// deadline is how long anybody waits for the facts of a process.
	deadline = 10 * time.Second
	// readLimit is how long they may take. What comes late is remembered.
	readLimit = 2 * time.Minute
	// closing is how long Close waits for readings under way.
	closing = time.Second
)

// Liveness is the kernel's own record of which images run.
type Liveness interface {
	// Epoch returns a counter that moves when an image under this process id ends
	// by exec or exit, and perhaps at other times. It costs no system call. The
	// kernel changes what Alive answers before it moves the epoch: an image that
	// was alive after the epoch was read is alive for as long as the epoch stays.
	Epoch(pid uint32) uint64
	// Alive reports whether exactly this image runs.
	Alive(i workload.Image) (bool, error)
}

// Config is what an Attributor needs.
type Config struct {
	ReaderConfig
	Liveness Liveness
	Interest Interest // at first, see SetInterest; nil is interested in no fact
}

// Attributor turns flows into processes and remembers them. It is safe for
// concurrent use.
//
// An image is unknown until Attribute has read its facts between two looks at the
// kernel's record. From then on it is current for as long as the epoch of its
// process id stands still, and is looked up again when that moves. Forget, or a
// look-up that finds it gone, ends it: an image never comes back.
//
// What is read may lie on a file system that never answers. So each reading has a
// goroutine of its own, which nobody waits for longer than a deadline, and
// admission bounds how many there are, by the party that caused them.
type Attributor struct {
	reader    *Reader
	liveness  Liveness
	interest  atomic.Pointer[Interest]
	memory    *memory
	admission *admission
	deadline  time.Duration

	life    context.Context // ends with Close
	end     context.CancelFunc
	flights sync.WaitGroup
}

// New makes an Attributor. Close it after use.
func New(c Config) (*Attributor, error) {
	reader, err := NewReader(c.ReaderConfig)
	if err != nil {
		return nil, fmt.Errorf("start attribution: %w", err)
	}
	reader.digests.hasher.limit()
	a := &Attributor{
		reader: reader, liveness: c.Liveness, memory: newMemory(),
		admission: newAdmission(), deadline: deadline,
	}
	a.life, a.end = context.WithCancel(context.Background())
	if c.Interest == nil {
		c.Interest = Always(Facts{})
	}
	a.SetInterest(c.Interest)
	return a, nil
}

// Close closes what New opened. Nobody may call Attribute any more. Readings that
// a file system holds are left to end with it, or with the agent's own process.
func (a *Attributor) Close() error {
	a.end()
	landed := make(chan struct{})
	go func() {
		a.flights.Wait()
		close(landed)
	}()
	select {
	case <-landed:
		return a.reader.Close()
	case <-time.After(closing):
		return nil // they still use the reader
	}
}

// SetInterest says which facts are wanted from now on. A process of which one is
// wanted that was not read is read anew when it connects next.
func (a *Attributor) SetInterest(i Interest) { a.interest.Store(&i) }

// Attribute returns the process that connected a flow, by ctx's end and by a
// deadline of its own. It returns an error that is ErrGone if that image runs no
// more, and one that is ErrBusy or ErrLate, which pass, if it was not found out.
// The same process is read once at a time, for everybody who asks.
func (a *Attributor) Attribute(ctx context.Context, f workload.Flow) (*workload.Process, error) {
	k := key{image: f.Image, uid: f.UID, gid: f.GID, cgroup: f.CgroupID}
	interest := a.interest.Load()
	if r := a.memory.find(k); r != nil && r.satisfies(interest) {
		if !a.Current(f.Image) {
			return nil, a.failed(f, ErrGone)
		}
		a.memory.confirm(k, r, interest)
		return r.process, nil
	}
	flight, first := a.memory.join(k, interest, time.Now().Add(a.deadline))
	if first {
		a.flights.Go(func() { a.fly(flight, f) })
	}
	r, err := flight.wait(ctx)
	if err != nil {
		return nil, a.failed(f, err)
	}
	return r.process, nil
}

func (a *Attributor) failed(f workload.Flow, err error) error {
	return fmt.Errorf("attribute %v: %w", f.Image, err)
}

// fly reads a process for all who wait for the flight, as soon as the party that
// caused it may.
func (a *Attributor) fly(f *flight, flow workload.Flow) {
	c := caller{image: flow.Image, uid: flow.UID, gid: flow.GID, cgroupID: flow.CgroupID, party: flow.Party()}
	f.reading, f.err = a.admitted(c, f)
	if errors.Is(f.err, context.DeadlineExceeded) {
		f.err = ErrLate
	}
	a.memory.land(f)
}

// admitted reads once the party may.
func (a *Attributor) admitted(c caller, f *flight) (*reading, error) {
	waiting, done := context.WithDeadline(a.life, f.deadline)
	defer done()
	if err := a.admission.enter(waiting, c.party); err != nil {
		return nil, err
	}
	defer a.admission.leave(c.party)
	ctx, cancel := context.WithTimeout(a.life, readLimit)
	defer cancel()
	return a.read(ctx, c, f.interest)
}

// read reads the facts between two looks at the kernel's record. Whatever /proc
// said in between was said about this image.
func (a *Attributor) read(ctx context.Context, c caller, interest *Interest) (*reading, error) {
	epoch := a.liveness.Epoch(c.image.PID)
	if err := a.mustLive(c.image); err != nil {
		return nil, err
	}
	r, readErr := a.reader.read(ctx, c, *interest)
	if err := a.mustLive(c.image); err != nil {
		return nil, err
	}
	if readErr != nil {
		return nil, readErr
	}
	r.under = interest
	a.memory.remember(c.image, epoch, c.party)
	return r, nil
}

func (a *Attributor) mustLive(i workload.Image) error {
	alive, err := a.liveness.Alive(i)
	if err != nil {
		return err
	}
	if !alive {
		return ErrGone
	}
	return nil
}

// Current reports whether the image still runs. It asks the kernel only when the
// epoch of its process id has moved, and otherwise makes no system call and does
// not allocate. An image that cannot be asked about is not current.
func (a *Attributor) Current(i workload.Image) bool {
	epoch := a.liveness.Epoch(i.PID)
	if known, ok := a.memory.epoch(i); ok && known == epoch {
		return true
	}
	alive, err := a.liveness.Alive(i)
	if err != nil {
		return false
	}
	if !alive {
		a.memory.forget(i)
		return false
	}
	a.memory.remember(i, epoch, workload.Party{})
	return true
}

// Forget drops what is known of an image. Call it when the image has ended.
func (a *Attributor) Forget(i workload.Image) { a.memory.forget(i) }
