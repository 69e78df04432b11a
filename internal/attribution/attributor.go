//go:build linux

package attribution

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// ErrGone says that the process image of a flow runs no more: the process ended
// or executed another program, and nothing that /proc says now is about it.
var ErrGone = errors.New("the process ended or executed another program")

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
	Facts    Facts // wanted at first; see SetFacts
}

// Attributor turns flows into processes and remembers them. It is safe for
// concurrent use.
//
// An image is unknown until Attribute has read its facts between two looks at the
// kernel's record. From then on it is current for as long as the epoch of its
// process id stands still, and is looked up again when that moves. Forget, or a
// look-up that finds it gone, ends it: an image never comes back.
type Attributor struct {
	reader   *Reader
	liveness Liveness
	facts    atomic.Pointer[Facts]
	memory   *memory
}

// New makes an Attributor. Close it after use.
func New(c Config) (*Attributor, error) {
	reader, err := NewReader(c.ReaderConfig)
	if err != nil {
		return nil, fmt.Errorf("start attribution: %w", err)
	}
	a := &Attributor{reader: reader, liveness: c.Liveness, memory: newMemory()}
	a.facts.Store(&c.Facts)
	return a, nil
}

// Close closes what New opened.
func (a *Attributor) Close() error { return a.reader.Close() }

// SetFacts says which facts are wanted from now on. Processes that were read
// with others are read anew when they connect next.
func (a *Attributor) SetFacts(facts Facts) {
	if *a.facts.Swap(&facts) != facts {
		a.memory.forgetProcesses()
	}
}

// Attribute returns the process that connected a flow. It returns an error that
// is ErrGone if that image runs no more. One caller at a time reads the same
// process, and ends it whatever its own ctx says; the others wait for it, or for
// ctx.
func (a *Attributor) Attribute(ctx context.Context, f workload.Flow) (*workload.Process, error) {
	k := key{image: f.Image, uid: f.UID, gid: f.GID, cgroup: f.CgroupID, facts: *a.facts.Load()}
	p, flight, first := a.memory.join(k)
	switch {
	case p != nil:
		if !a.Current(f.Image) {
			return nil, a.failed(f, ErrGone)
		}
		return p, nil
	case first:
		flight.process, flight.err = a.read(k)
		a.memory.land(k, flight)
		return flight.process, a.failed(f, flight.err)
	}
	select {
	case <-flight.landed:
		return flight.process, a.failed(f, flight.err)
	case <-ctx.Done():
		return nil, a.failed(f, ctx.Err())
	}
}

func (a *Attributor) failed(f workload.Flow, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("attribute %v: %w", f.Image, err)
}

// read reads the facts between two looks at the kernel's record. Whatever /proc
// said in between was said about this image.
func (a *Attributor) read(k key) (*workload.Process, error) {
	epoch := a.liveness.Epoch(k.image.PID)
	if err := a.mustLive(k.image); err != nil {
		return nil, err
	}
	p, readErr := a.reader.read(caller{image: k.image, uid: k.uid, gid: k.gid, cgroupID: k.cgroup}, k.facts)
	if err := a.mustLive(k.image); err != nil {
		return nil, err
	}
	if readErr != nil {
		return nil, readErr
	}
	a.memory.remember(k.image, epoch)
	return p, nil
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
	a.memory.remember(i, epoch)
	return true
}

// Forget drops what is known of an image. Call it when the image has ended.
func (a *Attributor) Forget(i workload.Image) { a.memory.forget(i) }
