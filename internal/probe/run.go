//go:build linux

package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
)

const (
	heartbeatInterval = time.Second
	heartbeatLimit    = 5 * heartbeatInterval // HEARTBEAT_LIMIT_NS
	hooksInterval     = time.Second
)

// Run keeps the kernel half alive until ctx ends: it beats, keeps the hooks attached,
// looks for those of dead agents, keeps what the kernel can tell for certain up to date,
// and hands the ends of images to ended. Without it the hooks soon hold the agent for
// hung, and the fail policy applies.
func (p *Probe) Run(ctx context.Context, ended func(workload.Image)) error {
	if err := p.beat(); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return every(ctx, heartbeatInterval, p.beat) })
	g.Go(func() error { return p.keepLearning(ctx) })
	g.Go(func() error { return every(ctx, hooksInterval, p.hookSet.mend) })
	g.Go(func() error { return every(ctx, deadAgentsInterval, func() error { p.deadAgents.look(); return nil }) })
	g.Go(func() error { return p.readEvents(ended) })
	g.Go(func() error {
		<-ctx.Done()
		return p.events.Flush() // wakes readEvents; the reader stays open
	})
	return g.Wait()
}

func every(ctx context.Context, interval time.Duration, do func() error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := do(); err != nil {
				return err
			}
		}
	}
}

// beat shows life through shared memory, by the clock that the hooks read.
func (p *Probe) beat() error {
	writeWord(p.heartbeat, 0, readClock(unix.CLOCK_MONOTONIC))
	return nil
}

func (p *Probe) readEvents(ended func(workload.Image)) error {
	var record ringbuf.Record
	for {
		err := p.events.ReadInto(&record)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil { // closed, or woken because Run ends
			return ignoreStopped(err)
		}
		image, err := decodeEvent(record.RawSample)
		if err != nil {
			return err
		}
		ended(image)
	}
}

func decodeEvent(sample []byte) (workload.Image, error) {
	var e bpf.ProcessProcess
	if err := binary.Read(bytes.NewReader(sample), binary.NativeEndian, &e); err != nil {
		return workload.Image{}, fmt.Errorf("read process event of %d bytes: %w", len(sample), err)
	}
	return workload.Image{PID: e.Tgid, StartTime: e.Image.StartTime, ExecID: e.Image.ExecId}, nil
}

func ignoreStopped(err error) error {
	if errors.Is(err, ringbuf.ErrClosed) || errors.Is(err, ringbuf.ErrFlushed) {
		return nil
	}
	return fmt.Errorf("read process events: %w", err)
}
