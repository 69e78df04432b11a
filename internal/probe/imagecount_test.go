//go:build linux

package probe

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/test/lab"
)

// images returns how many images count in each budget that has any.
func (h *host) images(t *testing.T) map[uint32]int64 {
	t.Helper()
	counts := map[uint32]int64{}
	for i := range uint32(budgetCount) {
		var b bpf.ConnectBudget
		must(t, h.probe.connect.Budgets.Lookup(i, &b))
		if b.Images != 0 {
			counts[i] = int64(b.Images)
		}
	}
	return counts
}

func (h *host) requireImages(t *testing.T, want map[uint32]int64) {
	t.Helper()
	lab.Eventually(t, waitLimit, func() error {
		if got := h.images(t); !maps.Equal(got, want) {
			return fmt.Errorf("images count so, by budget: %v, want %v", got, want)
		}
		return nil
	})
}

// identifyAll finds of every connection that its caller has the identity of all, at one
// moment after another of those in which its process ends.
func (h *host) identifyAll(t *testing.T) (stop func() (flows int)) {
	t.Helper()
	listener, done := h.listeners[unix.AF_INET], make(chan int)
	go func() {
		flows := 0
		for {
			conn, err := listener.AcceptTCP()
			if err != nil {
				done <- flows
				return
			}
			if flow, err := h.probe.Lookup(conn); err == nil {
				for at := time.Now(); time.Since(at) < time.Duration(flows%50)*10*time.Microsecond; {
					continue
				}
				h.probe.Identified(flow, everybody)
				h.probe.Release(flow)
				flows++
			}
			conn.Close()
		}
	}()
	return func() int {
		listener.Close()
		delete(h.listeners, unix.AF_INET)
		return <-done
	}
}

// A process may end at the very moment at which user space finds out what it is. What
// it counted in is given back all the same, once.
func TestImageThatEndsWhenItIsIdentified(t *testing.T) {
	const processes = 1000
	h := newHost(t)
	c := h.start(t, "billing")
	stop := h.identifyAll(t)
	c.doMany(t, request{Do: "fork and connect many", Addr: at(target4), Number: processes})
	h.requireImages(t, map[uint32]int64{})
	if flows := stop(); flows != processes {
		t.Errorf("%d connections were identified, want %d", flows, processes)
	}
}

// An agent that starts does not believe what the former one counted, but counts.
func TestImagesAreCountedAnew(t *testing.T) {
	h := newHost(t)
	identity, stranger := h.start(t, "billing"), h.start(t, "billing")
	for _, c := range []*process{identity, stranger} {
		requireErrno(t, "connect", c.connect(t, at(target4)), 0)
		if flow := h.claim(t, unix.AF_INET); c == identity {
			h.probe.Identified(flow, everybody)
		}
	}
	before := h.images(t)
	if len(before) != 4 || before[budgetIdentities] != 1 || before[budgetShared] != 1 {
		t.Fatalf("images count so, by budget: %v, want one of the identity, and one of a stranger: its party, its place, and what all share", before)
	}
	for _, budget := range []int64{budgetShared, budgetIdentities, budgetPlaces, budgetParties} {
		writeWord(h.probe.budgets.memory, budget*budgetSize+imagesOffset, 1000)
	}
	must(t, h.leave())
	h.startAgent(t)
	h.requireImages(t, before)
	identity.end(t)
	stranger.end(t)
	h.requireImages(t, map[uint32]int64{})
}

// Nobody looks into the map of images for the sake of identities that have ended.
func TestAttributedImagesAreCounted(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	requireErrno(t, "connect", c.connect(t, at(target4)), 0)
	flow := h.claim(t, unix.AF_INET)
	requireAttributed := func(want uint32) {
		t.Helper()
		lab.Eventually(t, waitLimit, func() error {
			var got uint32
			must(t, h.probe.process.Attributed.Lookup(flow.Image.PID%epochSlots, &got))
			if got != want {
				return fmt.Errorf("%d images count as attributed, want %d", got, want)
			}
			return nil
		})
	}
	requireAttributed(0)
	for range 2 { // which says nothing new
		h.probe.Identified(flow, everybody)
		requireAttributed(1)
	}
	must(t, h.probe.process.Attributed.Put(flow.Image.PID%epochSlots, uint32(7)))
	must(t, h.leave())
	h.startAgent(t)
	requireAttributed(1)
	c.end(t)
	requireAttributed(0)
}
