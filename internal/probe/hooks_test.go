//go:build linux

package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/test/lab"
)

// ownCgroup is the cgroup of this test program.
func ownCgroup(t *testing.T) *lab.Cgroup {
	t.Helper()
	path, err := currentCgroup()
	must(t, err)
	root, err := CgroupRoot()
	must(t, err)
	id, err := cgroupID(path)
	must(t, err)
	return &lab.Cgroup{Path: path, Name: strings.TrimPrefix(path, root), ID: id}
}

// requireHooks waits until the probe says of its hooks what is wanted: nothing, if
// that is "".
func (h *host) requireHooks(t *testing.T, says string) {
	t.Helper()
	lab.Eventually(t, waitLimit, func() error {
		switch err := h.probe.Hooks(); {
		case says == "" && err != nil:
			return fmt.Errorf("the hooks: %w", err)
		case says != "" && (err == nil || !strings.Contains(err.Error(), says)):
			return fmt.Errorf("of the hooks the probe says %v, want %q", err, says)
		}
		return nil
	})
}

// awaitRedirected waits until a client's connects come to the injector.
func (h *host) awaitRedirected(t *testing.T, c *process) {
	t.Helper()
	lab.Eventually(t, waitLimit, func() error {
		counts := h.counts(t, func() { c.connect(t, at(target4)) })
		if counts["redirected"] != 1 {
			return fmt.Errorf("a connect was not redirected: %v", counts)
		}
		return nil
	})
	h.claim(t, unix.AF_INET)
}

// harmless is a connect4 program that lets everything pass, after what is done to
// the context in register 1.
func harmless(t *testing.T, first ...asm.Instruction) *ebpf.Program {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.CGroupSockAddr, AttachType: ebpf.AttachCGroupInet4Connect, License: "GPL",
		Instructions: append(first, asm.Mov.Imm(asm.R0, 1).WithSymbol("out"), asm.Return()),
	})
	must(t, err)
	t.Cleanup(func() { program.Close() })
	return program
}

// rewriting is one that sends connections to the canary's port elsewhere.
func rewriting(t *testing.T) *ebpf.Program {
	t.Helper()
	const userIP4, userPort = 4, 24 // in struct bpf_sock_addr
	return harmless(t,
		asm.LoadMem(asm.R2, asm.R1, userPort, asm.Word),
		asm.JNE.Imm(asm.R2, canaryPort<<8, "out"), // in network order
		asm.Mov.Imm32(asm.R2, 0x0200007f),         // 127.0.0.2
		asm.StoreMem(asm.R1, userIP4, asm.R2, asm.Word),
	)
}

func attachTo(t *testing.T, cgroup *lab.Cgroup, program *ebpf.Program) link.Link {
	t.Helper()
	l, err := link.AttachCgroup(link.CgroupOptions{Path: cgroup.Path, Attach: ebpf.AttachCGroupInet4Connect, Program: program})
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// A unit that restarts takes its cgroup with it, and the hooks on that.
func TestHooksOnACgroupMadeAnew(t *testing.T) {
	h := newBareHost(t)
	unit := h.cgroup.Sub(t, "unit")
	h.config.Cgroup = unit.Path
	h.startAgent(t)
	must(t, h.listen(h.net.Do))
	h.run()
	must(t, h.probe.beat())
	h.watch(t, everyone(watched))
	for range 2 {
		c := h.startIn(t, executable(t, "billing"), lab.Place{Cgroup: unit, Net: h.net})
		h.awaitRedirected(t, c)
		h.requireHooks(t, "")
		must(t, unit.Kill())
		_ = c.cmd.Wait()
		lab.Eventually(t, waitLimit, func() error { return unix.Rmdir(unit.Path) })
		h.requireHooks(t, unit.Path)
		unit = h.cgroup.Sub(t, "unit")
	}
	h.requireHooks(t, "")
	h.awaitRedirected(t, h.startIn(t, executable(t, "billing"), lab.Place{Cgroup: unit, Net: h.net}))
}

// betweenLooks does something while the probe does not look at its hooks.
func (h *host) betweenLooks(do func()) {
	h.probe.hookSet.mu.Lock()
	defer h.probe.hookSet.mu.Unlock()
	do()
}

// A link that was detached is not said to have lost its cgroup.
func TestDetachedLink(t *testing.T) {
	h := newHost(t)
	h.betweenLooks(func() {
		for name, l := range h.probe.hookSet.attached {
			if strings.HasPrefix(name, "connect4-") {
				must(t, l.Detach())
			}
			if strings.HasPrefix(name, "exec-") && l.Detach() == nil {
				t.Error("the exec hook can be detached: look whether it was in checkLink")
			}
		}
		if err := errors.Join(h.probe.hookSet.check()...); err == nil || !strings.Contains(err.Error(), "hook connect4 was detached") {
			t.Errorf("of a detached hook the probe says %v", err)
		}
	})
	h.awaitRedirected(t, h.start(t, "billing"))
	h.requireHooks(t, "")
}

// Another agent put its own program on our link.
func TestReplacedProgram(t *testing.T) {
	h := newHost(t)
	h.serve(t, at(target4), "D")
	c := h.start(t, "billing")
	h.awaitRedirected(t, c)
	for name := range h.pinnedLinks(t) {
		if !strings.HasPrefix(name, "connect4-") {
			continue
		}
		ours, err := link.LoadPinnedLink(filepath.Join(h.probe.pins.links(), name), nil)
		must(t, err)
		must(t, ours.Update(harmless(t)))
		must(t, ours.Close())
	}
	h.awaitRedirected(t, c)
	h.requireHooks(t, "")
}

// newHookedHost makes a host whose agent is among those that the hooks see.
func newHookedHost(t *testing.T, cgroup *lab.Cgroup) *host {
	t.Helper()
	h := newHostIn(t, cgroup)
	if !h.probe.hookSet.seesItself {
		t.Fatal("the agent is not below the cgroup that the hooks are attached to")
	}
	return h
}

// Other programs on the same hooks are normal. It matters whether ours runs, and
// what it is shown.
func TestCanary(t *testing.T) {
	own := ownCgroup(t)
	sub := own.Sub(t, "inner")
	t.Cleanup(func() { must(t, errors.Join(moveTo(own.Path), unix.Rmdir(sub.Path))) })
	for _, test := range []struct {
		name          string
		hooks, member *lab.Cgroup // which are attached to, and where the agent is
		other         *lab.Cgroup
		program       func(*testing.T) *ebpf.Program
		says          string
	}{
		{"alone", own, own, nil, nil, ""},
		{"harmless, before ours", own, own, own, func(t *testing.T) *ebpf.Program { return harmless(t) }, ""},
		{"rewrites before ours", own, own, own, rewriting, "as one to 127.0.0.2:1"},
		{"rewrites below ours", own, sub, sub, rewriting, "as one to 127.0.0.2:1"},
		{"rewrites above ours", sub, sub, own, rewriting, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			must(t, moveTo(test.member.Path))
			var other link.Link
			if test.other != nil {
				other = attachTo(t, test.other, test.program(t))
			}
			h := newHookedHost(t, test.hooks)
			must(t, h.probe.hookSet.mend())
			h.requireHooks(t, test.says)
			if test.says != "" {
				must(t, other.Close())
				h.requireHooks(t, "")
			}
		})
	}
	t.Run("ours does not see", func(t *testing.T) {
		must(t, moveTo(own.Path))
		h := newHookedHost(t, own)
		must(t, h.probe.hookSet.mend())
		h.requireHooks(t, "")
		away := lab.NewCgroup(t)
		t.Cleanup(func() { must(t, moveTo(own.Path)) }) // before whoever is left there is killed
		must(t, moveTo(away.Path))
		h.requireHooks(t, "did not see a connection of our own")
		must(t, moveTo(own.Path))
		h.requireHooks(t, "")
	})
}

// An agent that the hooks see hears of its own end of a connection who the client
// is, and not where that wanted to go.
func TestPeerOfAcceptedInAHookedAgent(t *testing.T) {
	h := newHookedHost(t, ownCgroup(t))
	c := h.startIn(t, executable(t, "billing"), lab.Place{Net: h.net})
	for family, address := range map[Family]string{unix.AF_INET: target4, unix.AF_INET6: target6} {
		ends := c.connect(t, at(address))
		requireErrno(t, "connect", ends, 0)
		if ends.Peer != at(address) {
			t.Errorf("the client hears of peer %s, want %s", ends.Peer, at(address))
		}
		conn, from := accept(t, h.listeners[family])
		raw, err := conn.(*net.TCPConn).SyscallConn()
		must(t, err)
		var peer unix.Sockaddr
		must(t, raw.Control(func(fd uintptr) { peer, err = unix.Getpeername(int(fd)) }))
		must(t, err)
		client := netip.MustParseAddrPort(ends.Local)
		if got := textOf(peer); got != client.String() || from != client {
			t.Errorf("the agent hears of peer %s, and accepted %v; want the client's %v", got, from, client)
		}
		h.requireFlowOf(t, conn, c)
	}
}
