//go:build linux

package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// eventsPause is how long a ring that cannot be read is left alone.
const eventsPause = time.Second

// events is the ring by which the ends of images come to user space.
type events struct {
	wrong atomic.Pointer[error] // why it is not read now

	mu     sync.Mutex // guards what follows
	reader *ringbuf.Reader
}

// Events returns nil if the ends of images are read. While they are not, what is known of
// them is only kept for longer: the kernel counts ends in shared memory, too.
func (p *Probe) Events() error { return errorIn(&p.events.wrong) }

func (p *Probe) openEvents() error {
	reader, err := ringbuf.NewReader(p.process.Events)
	if err != nil {
		return fmt.Errorf("open event ring: %w", err)
	}
	p.events.mu.Lock()
	defer p.events.mu.Unlock()
	p.events.reader = reader
	return nil
}

func (p *Probe) closeEvents() error {
	p.events.mu.Lock()
	defer p.events.mu.Unlock()
	if p.events.reader == nil {
		return nil
	}
	return p.events.reader.Close()
}

// wakeEvents ends readEvents. The reader stays open, since Run may begin again.
func (p *Probe) wakeEvents() {
	p.events.mu.Lock()
	defer p.events.mu.Unlock()
	_ = p.events.reader.Flush() // of one that is closed nobody reads
}

// keepReading hands the ends of images to ended until ctx ends. A ring that cannot be
// read is opened anew: it is no reason to end an agent that answers.
func (p *Probe) keepReading(ctx context.Context, ended func(workload.Image)) {
	for {
		err := p.readEvents(ended)
		if ctx.Err() != nil {
			return
		}
		p.tellEvents(err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(eventsPause):
		}
		_ = p.closeEvents() // what is wrong is known
		if err := p.openEvents(); err != nil {
			p.tellEvents(err)
			continue
		}
		p.tellEvents(nil)
	}
}

func (p *Probe) tellEvents(err error) {
	before := errorIn(&p.events.wrong)
	p.events.wrong.Store(&err)
	switch {
	case textOfError(err) == textOfError(before):
	case err != nil:
		p.log.Error("the ends of processes are not read, and what is known of them is kept for longer; the ring is opened again", "error", err, "every", eventsPause)
	default:
		p.log.Info("the ends of processes are read again")
	}
}

func (p *Probe) readEvents(ended func(workload.Image)) error {
	p.events.mu.Lock()
	reader := p.events.reader
	p.events.mu.Unlock()
	var record ringbuf.Record
	for {
		err := reader.ReadInto(&record)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil { // also where it was woken because Run ends
			return fmt.Errorf("read process events: %w", err)
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
