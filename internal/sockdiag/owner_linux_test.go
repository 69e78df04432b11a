package sockdiag

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/attribution"
	"github.com/lanyardhq/lanyard/internal/workload"
	"github.com/lanyardhq/lanyard/test/lab"
)

type accounts struct{}

func (accounts) UserID(string) (uint32, error)  { return 0, errors.New("no such user") }
func (accounts) GroupID(string) (uint32, error) { return 0, errors.New("no such group") }

func wanted(t testing.TB, spec workload.SelectorSpec) workload.Selector {
	t.Helper()
	s, err := workload.NewSelector(spec, accounts{})
	must(t, err)
	return s
}

func byUser(t testing.TB, uids ...string) workload.Selector {
	return wanted(t, workload.SelectorSpec{Users: uids})
}
func byCgroup(t testing.TB, path string) workload.Selector {
	return wanted(t, workload.SelectorSpec{Cgroups: []string{path}})
}

// openOwners looks at the sockets of this host with its real cgroups.
func openOwners(t testing.TB) (*Owners, *Diag) {
	t.Helper()
	lab.RequireRoot(t)
	d, err := Open()
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	cgroups, err := attribution.OpenCgroups(lab.CgroupRoot(t))
	must(t, err)
	t.Cleanup(func() { _ = cgroups.Close() })
	return NewOwners(d, cgroups), d
}

func (o *Owners) wants(t testing.TB, c *net.TCPConn, want workload.Selector, served bool) {
	t.Helper()
	local, remote := ends(c)
	err := o.Check(t.Context(), want, local, remote)
	if served != (err == nil) {
		t.Errorf("%v to %v is served as wanted: %t, want %t (%v)", local, remote, err == nil, served, err)
	}
	var not *NotServedError
	if err != nil && !errors.As(err, &not) {
		t.Errorf("error %v is another", err)
	}
}

// Every kind of server, by user and by cgroup, accepted or not.
func TestOwnerOfTheFarEnd(t *testing.T) {
	o, _ := openOwners(t)
	for _, k := range []struct{ name, listen, dial string }{
		{"IPv4", "127.0.0.1:0", "127.0.0.1"},
		{"IPv6", "[::1]:0", "::1"},
		{"any address", "0.0.0.0:0", "127.0.0.9"},
		{"any address of both families", "[::]:0", "127.0.0.1"},
		{"both families, IPv6", "[::]:0", "::1"},
	} {
		for _, deferred := range []bool{false, true} {
			t.Run(fmt.Sprint(k.name, ", deferred ", deferred), func(t *testing.T) {
				mine, other := lab.NewCgroup(t), lab.NewCgroup(t)
				var options []string
				if deferred {
					options = []string{"deferred"}
				}
				s := startServer(t, lab.Place{Cgroup: mine}, k.listen, options...)
				c := s.dial(k.dial)
				look := func() {
					t.Helper()
					_, remote := ends(c)
					owners, err := o.Listening(remote)
					if err != nil || len(owners) != 1 || owners[0].Cgroup != mine.Name || owners[0].UID != 0 {
						t.Errorf("listening: %+v, %v", owners, err)
					}
					o.wants(t, c, byUser(t, "0"), true)
					o.wants(t, c, byUser(t, "1000", "0"), true)
					o.wants(t, c, byCgroup(t, mine.Name), true)
					o.wants(t, c, byCgroup(t, other.Name), false)
					o.wants(t, c, wanted(t, workload.SelectorSpec{Users: []string{"0"}, Cgroups: []string{other.Name}}), false)
				}
				look()
				if deferred {
					_, err := c.Write([]byte("GET"))
					must(t, err)
				}
				s.tell("accept")
				look()
				o.wants(t, c, byUser(t, "1000"), false)
			})
		}
	}
}

// The user is the one who accepts. Until then it is the listener's, which no other
// user has but by being given it.
func TestUserOfTheFarEnd(t *testing.T) {
	o, _ := openOwners(t)
	t.Run("a worker of another user", func(t *testing.T) {
		s := startServer(t, lab.Place{}, "127.0.0.1:0")
		c := s.dial()
		s.tell("as 1000")
		accepted := time.AfterFunc(20*time.Millisecond, func() { s.tell("accept") })
		defer accepted.Stop()
		o.wants(t, c, byUser(t, "1000"), true) // it waits for the worker
		o.wants(t, c, byUser(t, "0"), false)
	})
	t.Run("another user's listener", func(t *testing.T) {
		s := startServer(t, lab.Place{}, "127.0.0.1:0")
		c := s.dial()
		began := time.Now()
		o.wants(t, c, byUser(t, "1000"), false)
		if waited := time.Since(began); waited < acceptWait || waited > 5*acceptWait {
			t.Errorf("waited %v for it to be accepted, want %v", waited, acceptWait)
		}
	})
	t.Run("the wait ends with the context", func(t *testing.T) {
		s := startServer(t, lab.Place{}, "127.0.0.1:0")
		local, remote := ends(s.dial())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := o.Check(ctx, byUser(t, "1000"), local, remote); err == nil {
			t.Error("served by a user that it is not served by")
		}
	})
}

// Of several listeners on one port any may have taken the connection: as long as
// nobody has accepted it, all have to fit. Its cgroup is told even then.
func TestSharedPort(t *testing.T) {
	o, _ := openOwners(t)
	first, second := lab.NewCgroup(t), lab.NewCgroup(t)
	a := startServer(t, lab.Place{Cgroup: first}, "127.0.0.1:0", "reuseport", "deferred")
	startServer(t, lab.Place{Cgroup: second}, a.address.String(), "reuseport", "deferred")
	c := a.dial()
	o.wants(t, c, byUser(t, "0"), true)
	o.wants(t, c, byCgroup(t, first.Name), false)
	o.wants(t, c, byCgroup(t, second.Name), false)
	o.wants(t, c, byCgroup(t, "/lanyard-test-*"), true)
}

func TestNobodyServes(t *testing.T) {
	o, d := openOwners(t)
	s := startServer(t, lab.Place{}, "127.0.0.1:0")
	c := s.dial()
	local, remote := ends(c)
	elsewhere := netip.MustParseAddrPort("192.0.2.1:80")
	for _, to := range []netip.AddrPort{elsewhere, netip.AddrPortFrom(remote.Addr(), remote.Port()^1)} {
		if err := o.Check(t.Context(), byUser(t, "0"), local, to); !errors.Is(err, ErrNoSocket) {
			t.Errorf("%v: %v, want %v", to, err, ErrNoSocket)
		}
	}
	// The listener would take it, but is not the far end of a connection.
	if err := o.Check(t.Context(), byUser(t, "0"), netip.AddrPortFrom(local.Addr(), 1), remote); !errors.Is(err, ErrNoSocket) {
		t.Errorf("%v, want %v", err, ErrNoSocket)
	}
	// Two sockets of this host that are no pair.
	if _, err := d.Find(local, local); !errors.Is(err, ErrNoSocket) {
		t.Errorf("%v, want %v", err, ErrNoSocket)
	}
	s.tell("accept")
	o.wants(t, c, byUser(t, "0"), true)
	must(t, c.CloseWrite())
	lab.Eventually(t, 5*time.Second, func() error { // its process ends with its input
		_ = s.in.(interface{ Close() error }).Close()
		if err := o.Check(t.Context(), byUser(t, "0"), local, remote); err == nil {
			return errors.New("a connection that its process has closed is still served")
		}
		return nil
	})
}

// A process of another cgroup that made its socket there cannot pass for one that
// was not moved; and a cgroup that is gone is nobody's.
func TestUnitOfTheFarEnd(t *testing.T) {
	o, d := openOwners(t)
	mine := lab.NewCgroup(t)
	s := startServer(t, lab.Place{Cgroup: mine}, "127.0.0.1:0")
	c := s.dial()
	unit := wanted(t, workload.SelectorSpec{SystemdUnits: []string{"ledger.service"}})
	o.wants(t, c, unit, false)
	o = &Owners{d, paths{mine.ID: "/system.slice/ledger.service/worker"}}
	o.wants(t, c, unit, true)
	o.wants(t, c, wanted(t, workload.SelectorSpec{SystemdUnits: []string{"ledger.socket", "init.scope"}}), false)
	o = &Owners{d, paths{mine.ID: "/user.slice/user-1000.slice/user@1000.service/app.slice/ledger.service"}}
	o.wants(t, c, unit, false)
	o = &Owners{d, paths{}}
	o.wants(t, c, unit, false)
	local, remote := ends(c)
	if err := o.Check(t.Context(), unit, local, remote); !strings.Contains(err.Error(), "gone") || !strings.Contains(err.Error(), "ledger.service") {
		t.Errorf("error %q does not say what was wanted, and why that is not known", err)
	}
}

type paths map[uint64]string

func (p paths) Path(id uint64) (string, error) {
	if path, ok := p[id]; ok {
		return path, nil
	}
	return "", errors.New("it is gone")
}

// BenchmarkCheck is what each token costs at a destination with served_by.
func BenchmarkCheck(b *testing.B) {
	o, _ := openOwners(b)
	mine := lab.NewCgroup(b)
	s := startServer(b, lab.Place{Cgroup: mine}, "127.0.0.1:0")
	c := s.dial()
	s.tell("accept")
	local, remote := ends(c)
	for name, want := range map[string]workload.Selector{"user": byUser(b, "0"), "cgroup": byCgroup(b, mine.Name)} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				if err := o.Check(b.Context(), want, local, remote); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
