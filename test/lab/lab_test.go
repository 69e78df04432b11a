//go:build linux

package lab_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/lanyardhq/lanyard/test/lab"
)

// waitLimit bounds every wait of these tests.
const waitLimit = 10 * time.Second

func TestCgroupHoldsTheCommand(t *testing.T) {
	cgroup := lab.NewCgroup(t)
	sub := cgroup.Sub(t, "inner")
	output, err := lab.Place{Cgroup: sub}.Output(exec.Command("cat", "/proc/self/cgroup"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "0::" + cgroup.Name + "/inner\n"; !strings.Contains(output, want) {
		t.Errorf("the command's cgroup is %q, want a line %q", output, want)
	}
	if info, err := os.Stat(sub.Path); err != nil || inode(info) != sub.ID {
		t.Errorf("id of the cgroup is %d, want the folder's inode number (%v)", sub.ID, err)
	}
}

func TestCgroupRemovedWithItsProcesses(t *testing.T) {
	lab.RequireRoot(t)
	var path string
	sleeper := exec.Command("sleep", "3600")
	t.Run("owner", func(t *testing.T) {
		cgroup := lab.NewCgroup(t)
		path = cgroup.Path
		if err := (lab.Place{Cgroup: cgroup.Sub(t, "inner")}).Start(sleeper); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("cgroup %s still there: %v", path, err)
	}
	if err := sleeper.Wait(); err == nil {
		t.Error("the process in the cgroup ended by itself, want it killed")
	}
}

func TestCommandRunsAsTheUser(t *testing.T) {
	lab.RequireRoot(t)
	output, err := lab.Place{User: &syscall.Credential{Uid: 65534, Gid: 65534}}.Output(exec.Command("id", "-u"))
	if err != nil || strings.TrimSpace(output) != "65534" {
		t.Errorf("id -u said %q (%v), want 65534", output, err)
	}
}

func TestNamespaceIsSeparate(t *testing.T) {
	a, b := lab.NewNetNS(t), lab.NewNetNS(t)
	if a.Cookie(t) == b.Cookie(t) {
		t.Error("two namespaces have the same cookie")
	}
	a.AddLocal(t, "10.98.0.1/32", "fd98::1/128")
	for _, address := range []string{"127.0.0.1", "::1", "10.98.0.1", "fd98::1"} {
		listener := listenIn(t, a, address)
		if err := dialIn(a, listener.Addr().String()); err != nil {
			t.Errorf("connect inside the namespace: %v", err)
		}
		if err := dialIn(b, listener.Addr().String()); err == nil {
			t.Errorf("another namespace reached %s", listener.Addr())
		}
	}
}

func TestVethJoinsTwoNamespaces(t *testing.T) {
	a, b := lab.NewNetNS(t), lab.NewNetNS(t)
	lab.Connect(t, a, []string{"10.98.1.1/24", "fd98:1::1/64"}, b, []string{"10.98.1.2/24", "fd98:1::2/64"})
	b.AddLocal(t, "10.98.2.2/32", "fd98:2::2/128")
	a.AddRoute(t, "10.98.2.0/24", "10.98.1.2")
	a.AddRoute(t, "fd98:2::/64", "fd98:1::2")
	for _, address := range []string{"10.98.1.2", "fd98:1::2", "10.98.2.2", "fd98:2::2"} {
		listener := listenIn(t, b, address)
		if err := dialIn(a, listener.Addr().String()); err != nil {
			t.Errorf("connect to the other namespace: %v", err)
		}
	}
}

func TestBlackholeNeverAnswers(t *testing.T) {
	a, b := lab.NewNetNS(t), lab.NewNetNS(t)
	lab.Connect(t, a, []string{"10.98.1.1/24"}, b, []string{"10.98.1.2/24"})
	a.AddRoute(t, "10.98.3.0/24", "10.98.1.2")
	b.AddBlackhole(t, "10.98.3.0/24")
	err := a.Do(func() error {
		conn, err := (&net.Dialer{Timeout: 200 * time.Millisecond}).Dial("tcp", "10.98.3.1:80")
		if err == nil {
			conn.Close()
		}
		return err
	})
	var netErr net.Error
	if !errors.As(err, &netErr) || !netErr.Timeout() {
		t.Errorf("connect into the blackhole: %v, want a time-out", err)
	}
}

func TestFirstThreadKeepsItsNamespace(t *testing.T) {
	ns := lab.NewNetNS(t)
	before, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if err := ns.Do(func() error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	after, err := os.Readlink("/proc/self/ns/net")
	if err != nil || before != after {
		t.Errorf("the process's namespace changed from %s to %s (%v)", before, after, err)
	}
}

func TestNameServerAnswersChange(t *testing.T) {
	ns := lab.NewNetNS(t)
	dns := lab.StartDNS(t, ns, netip.MustParseAddr("127.0.0.1"))
	place := lab.Place{Net: ns, Files: dns.Files(t)}
	resolve := func(name string) string {
		output, _ := place.Output(exec.Command("getent", "ahosts", name))
		return output
	}
	if output := resolve("ledger.test"); output != "" {
		t.Errorf("an unknown name resolved to %q", output)
	}
	for _, address := range []string{"10.98.0.1", "fd98::1", "10.98.0.2"} {
		dns.Set("Ledger.test.", netip.MustParseAddr(address))
		if output := resolve("ledger.test"); !strings.HasPrefix(output, address+" ") {
			t.Errorf("ledger.test resolved to %q, want %s", output, address)
		}
	}
	if dns.Queries("ledger.test") == 0 {
		t.Error("the name server counted no query")
	}
	dns.Remove("ledger.test")
	if output := resolve("ledger.test"); output != "" {
		t.Errorf("a removed name resolved to %q", output)
	}
	if content, err := os.ReadFile("/etc/resolv.conf"); err != nil || strings.Contains(string(content), "attempts:2") {
		t.Errorf("the host's own resolv.conf was changed: %q (%v)", content, err)
	}
}

func TestNameServerServesGoResolver(t *testing.T) {
	ns := lab.NewNetNS(t)
	dns := lab.StartDNS(t, ns, netip.MustParseAddr("127.0.0.1"))
	want := []netip.Addr{netip.MustParseAddr("10.98.0.1"), netip.MustParseAddr("fd98::1")}
	dns.Set("ledger.test", want...)
	resolver := net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (conn net.Conn, err error) {
		err = ns.Do(func() error {
			conn, err = net.Dial("udp", "127.0.0.1:53")
			return err
		})
		return conn, err
	}}
	got, err := resolver.LookupNetIP(t.Context(), "ip", "ledger.test")
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got, netip.Addr.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("resolved %v, want %v", got, want)
	}
}

func TestBPFFSAndObjects(t *testing.T) {
	lab.RequireRoot(t)
	var mount string
	var held lab.BPFObjects
	t.Run("owner", func(t *testing.T) {
		mount = lab.NewBPFFS(t)
		m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "lab_test", Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if err := m.Pin(filepath.Join(mount, "m")); err != nil {
			t.Fatal(err)
		}
		if pins := lab.Pins(t, mount); !slices.Equal(pins, []string{"m"}) {
			t.Errorf("pins are %v, want m", pins)
		}
		held = lab.HeldBPF(t, os.Getpid())
		info, err := m.Info()
		if err != nil {
			t.Fatal(err)
		}
		if id, _ := info.ID(); !slices.Contains(held.Maps, uint32(id)) {
			t.Errorf("this process holds the maps %v, want %d among them", held.Maps, id)
		}
		if err := m.Unpin(); err != nil {
			t.Fatal(err)
		}
	})
	held.RequireGone(t)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), mount) {
		t.Errorf("%s is still mounted (%v)", mount, err)
	}
}

func TestEventuallyWaits(t *testing.T) {
	tries := 0
	lab.Eventually(t, waitLimit, func() error {
		if tries++; tries < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if tries != 3 {
		t.Errorf("looked %d times, want 3", tries)
	}
}

func inode(info os.FileInfo) uint64 {
	return info.Sys().(*syscall.Stat_t).Ino
}

// listenIn makes an echo server inside a namespace.
func listenIn(t *testing.T, ns *lab.NetNS, address string) net.Listener {
	t.Helper()
	var listener net.Listener
	err := ns.Do(func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(0)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(conn, conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return listener
}

// dialIn sends one byte to an echo server from inside a namespace.
func dialIn(ns *lab.NetNS, address string) error {
	return ns.Do(func() error {
		conn, err := net.DialTimeout("tcp", address, waitLimit)
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := conn.Write([]byte{'x'}); err != nil {
			return err
		}
		answer := make([]byte, 1)
		if _, err := io.ReadFull(conn, answer); err != nil || answer[0] != 'x' {
			return fmt.Errorf("echo %q: %w", answer, err)
		}
		return nil
	})
}

func TestListenersOfThisProcess(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		listener, err := net.Listen("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		want := listener.Addr().(*net.TCPAddr).AddrPort()
		if got := lab.Listeners(t, os.Getpid()); !slices.Contains(got, want) {
			t.Errorf("listeners are %v, want %v among them", got, want)
		}
		listener.Close()
		if got := lab.Listeners(t, os.Getpid()); slices.Contains(got, want) {
			t.Errorf("listeners are %v after %v was closed", got, want)
		}
	}
}
