//go:build linux

package probe

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// raceTime ends a race before whoever asked for it stops waiting for the answer: on
	// an emulated machine each try takes twenty times as long.
	raceTime = waitLimit / 6
	// mostWait is longer than the threads of a single processor run at a time.
	mostWait = 1 << 24
)

// raceTies connects sockets while another thread ties them to a device, or unties them
// again and ties them, and counts what became of each, until it has tried often enough
// or raceTime is over.
func raceTies(r request, answer *response) error {
	to, err := netip.ParseAddrPort(r.Addr)
	if err != nil {
		return err
	}
	family := unix.AF_INET
	if to.Addr().Is6() {
		family = unix.AF_INET6
	}
	t := newTier(r.Option == "and untie")
	defer t.stop()
	answer.Counts = map[string]int{}
	for end := time.Now().Add(raceTime); r.Number > 0 && time.Now().Before(end); r.Number-- {
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = t.race(fd, to, answer.Counts)
		if err := errors.Join(err, unix.Close(fd)); err != nil {
			return err
		}
	}
	return nil
}

// tier is the thread that ties the socket it is given.
type tier struct {
	unties bool
	wait   int          // turns of a loop, on average, from when it is given a socket to connect()
	socket atomic.Int64 // 0 for none, the standard input being none
	ended  atomic.Bool
	done   sync.WaitGroup
}

func newTier(unties bool) *tier {
	t := &tier{unties: unties}
	t.done.Go(func() {
		runtime.LockOSThread()
		for !t.ended.Load() {
			if fd := int(t.socket.Load()); fd != 0 {
				t.tie(fd)
				t.socket.Store(0)
			}
		}
	})
	return t
}

func (t *tier) tie(fd int) {
	_ = unix.BindToDevice(fd, "lo") // whether it was is asked later
	if t.unties {
		_ = unix.BindToDevice(fd, "")
		_ = unix.BindToDevice(fd, "lo")
	}
}

func (t *tier) stop() {
	t.ended.Store(true)
	t.done.Wait()
}

// race connects somewhere within the time that the other thread takes. How long that is
// depends on the machine: whichever thread was the first this time is less likely to be
// the next time.
func (t *tier) race(fd int, to netip.AddrPort, counts map[string]int) error {
	t.socket.Store(int64(fd))
	for left := rand.IntN(2*t.wait + 1); left > 0; left-- {
		_ = t.ended.Load()
	}
	err := unix.Connect(fd, socketAddress(to))
	for t.socket.Load() != 0 {
		runtime.Gosched()
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) && !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("connect a socket that is being tied: %w", err)
	}
	local, _ := endsOf(fd)
	at, err := netip.ParseAddrPort(local)
	if err != nil {
		return err
	}
	device, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX)
	if err != nil {
		return err
	}
	redirected := at.Addr().IsLoopback()
	if step := t.wait/8 + 1; redirected {
		t.wait = min(t.wait+step, mostWait)
	} else {
		t.wait = max(t.wait-step, 0)
	}
	counts[fmt.Sprintf("redirected=%t tied=%t", redirected, device != 0)]++
	return nil
}

// The kernel lets go of the socket's lock between the hook of setsockopt() and the tie:
// a connect() of another thread that comes in between is not redirected.
func TestTieDuringConnect(t *testing.T) {
	const tries = 3000
	h := newHost(t)
	h.discardAll(t)
	for _, target := range []struct {
		address string
		family  Family
	}{{target4, unix.AF_INET}, {target6, unix.AF_INET6}} {
		for _, how := range []string{"tie", "and untie"} {
			t.Run(target.address+" "+how, func(t *testing.T) {
				c := h.start(t, "billing")
				counts := c.do(t, request{Do: "race ties", Addr: at(target.address), Option: how, Number: tries}).Counts
				t.Logf("of at most %d tries, within %v: %v", tries, raceTime, counts)
				if n := counts["redirected=true tied=true"]; n > 0 {
					t.Errorf("%d connections were redirected, and their sockets tied to a device: %v", n, counts)
				}
				if counts["redirected=true tied=false"] == 0 || counts["redirected=false tied=true"] == 0 {
					t.Errorf("one thread was always the first, which shows nothing: %v", counts)
				}
			})
		}
	}
}

// discardAll closes what the injector's listeners accept.
func (h *host) discardAll(t *testing.T) {
	t.Helper()
	var all sync.WaitGroup
	t.Cleanup(all.Wait)
	for family, listener := range h.listeners {
		delete(h.listeners, family)
		t.Cleanup(func() { _ = listener.Close() })
		all.Go(func() {
			for {
				conn, err := listener.AcceptTCP()
				if err != nil {
					return
				}
				if flow, err := h.probe.Lookup(conn); err == nil {
					h.probe.Release(flow)
				}
				_ = conn.Close()
			}
		})
	}
}

// A socket that was tied once stays out of the injector's way, also when it is untied:
// another thread's tie may still be under way. One that was only untied does not.
func TestTiedSocketsStayAway(t *testing.T) {
	h := newHost(t)
	h.serve(t, at(target4), "D")
	c := h.start(t, "billing")
	for _, how := range []string{"device", "device by index"} {
		t.Run(how, func(t *testing.T) {
			tie := request{Do: "option", Socket: "s", Option: how, Path: "lo", Number: 1}
			untie := request{Do: "option", Socket: "s", Option: how}
			c.socket(t, "s", at(target4))
			c.do(t, untie)
			requireErrno(t, "connect of one that was only untied", c.try(t, request{Do: "connect", Socket: "s", Addr: at(target4)}), 0)
			h.claim(t, unix.AF_INET)

			c.socket(t, "s", at(target4))
			c.do(t, tie)
			c.do(t, untie)
			for _, addr := range []string{at(target4), "10.98.0.1:8081", at(target4)} {
				counts := h.counts(t, func() {
					c.try(t, request{Do: "connect", Socket: "s", Addr: addr}) // the port beside is closed
				})
				if addr == at(target4) {
					requireCount(t, counts, "bound_device", 1)
				}
				requireCount(t, counts, "redirected", 0)
				c.do(t, request{Do: "disconnect", Socket: "s"})
			}
		})
	}
}

// A socket that is not of TCP has no such option, and hears so from the kernel.
func TestFastOpenOfOtherSockets(t *testing.T) {
	h := newHost(t)
	h.watchFor(t, named("billing"))
	c := h.start(t, "billing")
	for kind, want := range map[string]unix.Errno{"udp": unix.ENOPROTOOPT, "": 0, "mptcp": 0} {
		c.do(t, request{Do: "socket", Socket: "s", Option: kind})
		got := c.try(t, request{Do: "option", Socket: "s", Option: "fast open on connect"})
		requireErrno(t, "fast open of a socket of kind "+kind, got, want)
	}
}
