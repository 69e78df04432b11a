//go:build linux

package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/workload"
	"github.com/lanyardhq/lanyard/test/lab"
)

// tryMany connects again and again in one way, each time with a new socket, and
// counts how that ended.
func tryMany(r request, answer *response) error {
	to, err := netip.ParseAddrPort(r.Addr)
	if err != nil {
		return err
	}
	at := &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	answer.Counts = map[string]int{}
	for range r.Number {
		ended, err := tryOnce(r.Option, at)
		if err != nil {
			return err
		}
		answer.Counts[ended]++
	}
	return nil
}

func tryOnce(how string, to unix.Sockaddr) (ended string, err error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	switch how {
	case "reset": // established, and gone before or after it is accepted
		err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	case "half open":
		err = unix.SetNonblock(fd, true)
	case "short wait": // as if a signal came
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Usec: 1000})
	case "taken address":
		err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
			unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 5000}))
	}
	if err != nil {
		return "", err
	}
	err = unix.Connect(fd, to)
	if errors.Is(err, unix.EINTR) && how != "short wait" {
		err = connect(fd, to)
	}
	if err != nil {
		return nameOf(err), nil
	}
	return "connected", nil
}

// open returns how many connections count in each budget that has any.
func (h *host) open(t *testing.T) map[uint32]int64 {
	t.Helper()
	open := map[uint32]int64{}
	h.probe.budgets.mu.Lock()
	defer h.probe.budgets.mu.Unlock()
	for i := range uint32(budgetCount) {
		if n := h.probe.budgets.open(i); n != 0 {
			open[i] = n
		}
	}
	return open
}

func (h *host) requireNothingOpen(t *testing.T) {
	t.Helper()
	lab.Eventually(t, waitLimit, func() error {
		if open := h.open(t); len(open) != 0 || h.probe.Pending() != 0 {
			return fmt.Errorf("connections count as open: %v, %d as pending; want none", open, h.probe.Pending())
		}
		return nil
	})
	h.requireUnfinished(t, 0)
}

// shareOut has the kernel share a number of connections out anew.
func (h *host) shareOut(t *testing.T, connections int, change func(*bpf.ConnectSettings)) {
	t.Helper()
	h.probe.mu.Lock()
	defer h.probe.mu.Unlock()
	h.probe.connections = connections
	h.probe.allot(connections, h.probe.watch.count)
	if change != nil {
		change(&h.probe.settings)
	}
	must(t, h.probe.putSettings())
}

// fill connects and holds connections until one is not redirected any more, and
// returns how many were, and what became of the first that was not.
func (h *host) fill(t *testing.T, c *process) (redirected int, last map[string]uint64) {
	t.Helper()
	return h.hold(t, c, "held")
}

// hold is fill for a client that holds some already, under another name.
func (h *host) hold(t *testing.T, c *process, as string) (redirected int, last map[string]uint64) {
	t.Helper()
	const most = 200
	for i := range most {
		name := as + " " + strconv.Itoa(i)
		c.socket(t, name, at(target4))
		last = h.counts(t, func() { c.try(t, request{Do: "connect", Socket: name, Addr: at(target4)}) })
		if last["redirected"] == 0 {
			c.do(t, request{Do: "close", Socket: name})
			return i, last
		}
	}
	t.Fatalf("%d connections were redirected, and there is room for more", most)
	return 0, nil
}

// A stranger leaves its place as much as it took, and all others that again; the next of
// the same place takes a part of what was left to that, and nobody what is guaranteed
// to an identity.
func TestConnectionsAreSharedOut(t *testing.T) {
	h := newClosedHost(t)
	file := copyOf(t, "billing")
	h.watchFor(t, isFile(t, file), named("x"))
	h.shareOut(t, 91, nil) // 40 for all, 20 for each of the two
	place := h.place()
	strangers := []*process{h.start(t, "billing"), h.start(t, "billing")}
	identity := h.startIn(t, file, place)
	requireErrno(t, "connect to be recognised", identity.connect(t, at(target4)), 0)
	h.probe.Identified(h.claim(t, unix.AF_INET), exactIdentity)
	for i, want := range []int{14, 4} { // which leaves 4 to the place, and 22 to all others
		strangers[i].do(t, request{Do: "setuid", Number: 4321 + i})
		got, last := h.fill(t, strangers[i])
		if got != want || last["budget"] != 1 || last["passed_unknown"] != 1 {
			t.Errorf("stranger %d had %d connections, and then %v; want %d, and that the next passes", i, got, last, want)
		}
	}
	if got, last := h.fill(t, identity); got != 31 || last["budget"] != 1 || last["refused"] != 1 {
		t.Errorf("the identity had %d connections, and then %v; want the 20 that are its own and half of the rest, and a refusal", got, last)
	}
	for range 14 + 4 + 31 {
		h.claim(t, unix.AF_INET) // and give back
	}
	h.requireNothingOpen(t)
	requireErrno(t, "connect", strangers[0].connect(t, at(target4)), 0)
	h.claim(t, unix.AF_INET)
}

// However a try ends, what it held is given back.
func TestNoShareIsLost(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	many := func(how string, times int, want string) {
		t.Helper()
		got := c.doMany(t, request{Do: "try many", Option: how, Addr: at(target4), Number: times})
		if got[want] != times {
			t.Errorf("%s: connects ended so: %v, want %d %s", how, got, times, want)
		}
		if how == "reset" {
			lab.Eventually(t, waitLimit, func() error {
				if n := h.probe.Pending(); n != 0 {
					return fmt.Errorf("%d connections are pending", n)
				}
				return nil
			})
		}
		h.requireNothingOpen(t)
	}
	c.connectFrom(t, "first", "127.0.0.1:5000", at(target4))
	h.claim(t, unix.AF_INET)
	many("taken address", 2000, unix.EADDRNOTAVAIL.Error())

	stop := h.injectAll(t)
	lost := 0
	counts := h.counts(t, func() {
		many("reset", 4000, "connected")
		lost = stop()
	})
	// A client can be gone before its part of the handshake has been looked at.
	if withdrawn := counts["withdrawn"]; uint64(lost) > withdrawn {
		t.Errorf("%d accepted connections had no flow, and %d flows were withdrawn", lost, withdrawn)
	}

	listener, err := listenTCP(h.net.Do, "127.0.0.1:0")
	must(t, err)
	h.listeners[unix.AF_INET] = listener
	full := h.fullInjector(t, c)
	h.requireFlowOf(t, acceptNext(t, full), c)
	requireErrno(t, "connect", c.connect(t, at(target4)), 0) // takes the only place again
	before := h.open(t)
	for how, times := range map[string]int{"half open": 3500, "short wait": 500} {
		got := c.doMany(t, request{Do: "try many", Option: how, Addr: at(target4), Number: times})
		if got["connected"] != 0 || got[unix.EINPROGRESS.Error()]+got[unix.EINTR.Error()] != times {
			t.Errorf("%s: connects ended so: %v, want none finished", how, got)
		}
		lab.Eventually(t, waitLimit, func() error {
			if open := h.open(t); fmt.Sprint(open) != fmt.Sprint(before) {
				return fmt.Errorf("%s: connections count as open: %v, want %v", how, open, before)
			}
			return nil
		})
	}
	h.requireFlowOf(t, acceptNext(t, full), c)
	h.requireNothingOpen(t)

	h.removeLoopbackRoutes(t)
	counts = h.counts(t, func() { many("", 500, unix.ENETUNREACH.Error()) })
	requireCount(t, counts, "redirected", 500)
}

// removeLoopbackRoutes has nothing lead to the IPv4 listener any more.
func (h *host) removeLoopbackRoutes(t *testing.T) {
	t.Helper()
	must(t, h.net.Do(func() error {
		local := &netlink.Route{Table: unix.RT_TABLE_LOCAL}
		routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, local, netlink.RT_FILTER_TABLE)
		for _, route := range routes {
			if route.Dst != nil && route.Dst.IP.IsLoopback() {
				err = errors.Join(err, netlink.RouteDel(&route))
			}
		}
		return err
	}))
}

// leaveNoMemory lets no socket of the host have more state. Linux 6.7 gave each
// network namespace a bound of its own; the one of a whole machine is left alone,
// unless that machine is there for the tests.
func (h *host) leaveNoMemory(t *testing.T) {
	t.Helper()
	const setting = "/proc/sys/net/core/optmem_max"
	before, err := os.ReadFile(setting)
	must(t, err)
	write := func(value []byte) func() error {
		return func() error { return os.WriteFile(setting, value, 0) }
	}
	err = h.net.Do(write([]byte("0")))
	if errors.Is(err, os.ErrNotExist) && ownMachine {
		t.Cleanup(func() { must(t, write(before)()) })
		must(t, write([]byte("0"))())
		return
	}
	if errors.Is(err, os.ErrNotExist) {
		lab.Unavailable(t, "needs Linux 6.7 or newer, where "+setting+" is a network namespace's own")
	}
	must(t, err)
	if now, err := os.ReadFile(setting); err != nil || string(now) != string(before) {
		t.Fatalf("the host's own %s is %s (%v), was %s", setting, now, err, before)
	}
}

// A flow that an accepted socket has no memory for is nobody's, and holds nothing.
func TestShareOfAnAcceptedSocketWithoutMemory(t *testing.T) {
	h := newHost(t)
	c := h.start(t, "billing")
	full := h.fullInjector(t, c)
	c.waiting(t, "w")
	h.leaveNoMemory(t)
	h.requireFlowOf(t, acceptNext(t, full), c)
	h.requireNoFlow(t, acceptNext(t, full)) // once the SYN was sent again
	h.requireNothingOpen(t)
}

// Images on record are shared out in the same way, and given back when they end.
func TestImagesAreSharedOut(t *testing.T) {
	h := newClosedHost(t)
	h.watchFor(t, named("billing"))
	h.shareOut(t, 1000, func(s *bpf.ConnectSettings) { s.SharedImages = 6 })
	var first []*process
	for i := range 3 {
		c := h.start(t, "billing")
		c.do(t, request{Do: "setuid", Number: 4321})
		first = append(first, c)
		counts := h.counts(t, func() { requireErrno(t, "connect", c.connect(t, at(target4)), 0) })
		if redirected := counts["redirected"] == 1; redirected != (i < 2) {
			t.Errorf("image %d of a stranger was redirected: %v (%v), want room for 2 of 6", i, redirected, counts)
		}
	}
	for range 2 {
		h.claim(t, unix.AF_INET)
	}
	requireErrno(t, "connect of an image on record", first[0].connect(t, at(target4)), 0)
	h.claim(t, unix.AF_INET)
	counts := h.counts(t, func() { first[0].do(t, request{Do: "fork and connect", Addr: at(target4)}) })
	requireCount(t, counts, "budget", 1) // a fork is an image of its own

	second := h.start(t, "billing")
	second.do(t, request{Do: "setuid", Number: 4322})
	requireErrno(t, "connect of a second stranger", second.connect(t, at(target4)), 0)
	h.claim(t, unix.AF_INET)

	first[1].end(t)
	lab.Eventually(t, waitLimit, func() error {
		counts := h.counts(t, func() { first[2].connect(t, at(target4)) })
		if counts["redirected"] != 1 {
			return fmt.Errorf("where an image has ended there is no room: %v", counts)
		}
		return nil
	})
	h.probe.Identified(h.claim(t, unix.AF_INET), named("billing").Identity) // counts as the identity's now
	var mine, all bpf.ConnectBudget
	must(t, h.probe.connect.Budgets.Lookup(uint32(budgetIdentities), &mine))
	must(t, h.probe.connect.Budgets.Lookup(uint32(budgetShared), &all))
	if mine.Images != 1 || all.Images != 2 {
		t.Errorf("the identity has %d images on record and all strangers %d, want 1 and 2", mine.Images, all.Images)
	}
	for _, c := range append(first, second) {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
	lab.Eventually(t, waitLimit, func() error {
		for i := range uint32(budgetCount) {
			var b bpf.ConnectBudget
			must(t, h.probe.connect.Budgets.Lookup(i, &b))
			if b.Images != 0 {
				return fmt.Errorf("budget %d has %d images on record after all have ended", i, b.Images)
			}
		}
		return nil
	})
}

// Somebody who takes on many users, and namespaces, has one place and its share: all of
// them together leave as much to another place as they took.
func TestUsersOfOnePlaceHaveOneShare(t *testing.T) {
	h := newHostIn(t, lab.NewSlice(t))
	h.watchFor(t, isFile(t, copyOf(t, "billing")))
	h.shareOut(t, 91, nil) // 40 for all
	crowd, other := h.start(t, "billing"), h.start(t, "billing")
	crowd.moveTo(t, nested(t, h.cgroup, "docker/"+strings.Repeat("0a", 32)))
	other.moveTo(t, nested(t, h.cgroup, "docker/"+strings.Repeat("0b", 32)))
	var taken []int
	sum := 0
	for uid := range 60 {
		crowd.do(t, request{Do: "set euid", Number: 100_000 + uid})
		got, _ := h.hold(t, crowd, strconv.Itoa(uid))
		crowd.do(t, request{Do: "set euid"})
		taken = append(taken, got)
		sum += got
	}
	if sum != 20 {
		t.Errorf("60 users of a container have %d connections (%v), want half of 40", sum, taken)
	}
	if got, _ := h.hold(t, other, "o"); got != 7 {
		t.Errorf("another container has %d connections, want a third of the 20 that are left", got)
	}
	for range sum + 7 {
		h.claim(t, unix.AF_INET)
	}
	h.requireNothingOpen(t)
}

// A connection that turns out to be an identity's counts as that from then on, within what
// is guaranteed to it, then in what all share, and else as before.
func TestConnectionIsChargedToItsIdentity(t *testing.T) {
	h := newHost(t)
	file := copyOf(t, "billing")
	h.watchFor(t, isFile(t, file))
	h.shareOut(t, 1000, func(s *bpf.ConnectSettings) { s.IdentityConnections, s.SharedConnections = 1, 3 })
	c := h.start(t, "billing")
	take := func() workload.Flow {
		t.Helper()
		c.socket(t, "s", at(target4))
		requireErrno(t, "connect", c.connect(t, at(target4)), 0)
		conn, _ := accept(t, h.listeners[unix.AF_INET])
		flow, err := h.probe.Lookup(conn.(*net.TCPConn))
		must(t, err)
		return flow
	}
	var held []workload.Flow
	mine := uint32(budgetIdentities + h.probe.bits[exactIdentity])
	for i, want := range []workload.Share{{Budget: mine}, {Budget: mine, Shared: true}, {}} {
		flow := take()
		if want == (workload.Share{}) {
			want = flow.Share // there is no room
		}
		if flow.Share.Place == 0 || !flow.Share.Shared {
			t.Fatalf("connection %d counts at first as %+v, want as a stranger's", i, flow.Share)
		}
		if flow.Share = h.probe.Charge(flow, exactIdentity); flow.Share != want {
			t.Errorf("connection %d counts as %+v, want as %+v", i, flow.Share, want)
		}
		if again := h.probe.Charge(flow, "nobody's"); again != flow.Share {
			t.Errorf("charged to nobody, connection %d counts as %+v", i, again)
		}
		held = append(held, flow)
	}
	open := h.open(t)
	if len(open) != 4 || open[mine] != 2 || open[budgetShared] != 2 || open[held[2].Share.Place] != 1 || open[held[2].Share.Budget] != 1 {
		t.Errorf("connections count as open: %v", open)
	}
	for _, flow := range held {
		h.probe.Release(flow)
	}
	h.requireNothingOpen(t)
}

// TestNoMoreIsSharedOutThanCanBeHeld, whatever the limit and however many identities.
func TestNoMoreIsSharedOutThanCanBeHeld(t *testing.T) {
	for connections := 1; connections <= 12_000; connections = connections*11/10 + 1 {
		for _, identities := range []int{0, 1, 2, 63, 64, 1000} {
			p := &Probe{}
			p.allot(connections, identities)
			s := p.settings
			most := int(s.SharedConnections) + int(s.Slack) + int(s.IdentityConnections)*min(identities, identityBits)
			if most > connections || s.SharedConnections == 0 || connections > 1000 && identities > 0 && s.IdentityConnections == 0 {
				t.Errorf("of %d connections, %d are shared out: %d to all, %d to each of %d", connections, most, s.SharedConnections, s.IdentityConnections, identities)
			}
		}
	}
}

// told is what the kernel tells of who a caller is.
type told struct {
	party  workload.Party
	shares [3]workload.Share
}

// toldOf returns what the kernel tells of a client, with what its connection counts in
// under each of some seeds: two parties may have the same under one.
func (h *host) toldOf(t *testing.T, c *process) (told told) {
	t.Helper()
	for seed := range told.shares {
		h.shareOut(t, 1000, func(s *bpf.ConnectSettings) { s.Seed = uint32(seed + 1) })
		requireErrno(t, "connect", c.connect(t, at(target4)), 0)
		flow := h.claim(t, unix.AF_INET)
		told.party, told.shares[seed] = flow.Party(), flow.Share
		c.do(t, request{Do: "close", Socket: "s"})
	}
	return told
}

// areOne reports whether two are one party, as the kernel's budgets and user space have it.
func areOne(t *testing.T, a, b told) bool {
	t.Helper()
	same := a.shares == b.shares
	if same != (a.party == b.party) {
		t.Errorf("%v and %v are one party, by the budgets: %v", a.party, b.party, same)
	}
	return same
}

// inOnePlace reports whether two count in one place, as the kernel and user space have it.
func inOnePlace(t *testing.T, a, b told) bool {
	t.Helper()
	same := true
	for i := range a.shares {
		same = same && a.shares[i].Place == b.shares[i].Place
	}
	if same != (a.party.Place() == b.party.Place()) {
		t.Errorf("%v and %v are in one place, by the budgets: %v", a.party, b.party, same)
	}
	return same
}

// Strangers are told apart by place, which is a container, unit or a user's slice, and in
// it by user, but not in a user's slice, and by network namespace.
func TestPartiesOfStrangers(t *testing.T) {
	h := newHostIn(t, lab.NewSlice(t))
	away := &host{agent: h.agent, cgroup: h.cgroup, net: lab.NewNetNS(t)}
	away.net.AddLocal(t, target4+"/32")
	elsewhere := &agent{probe: h.probe, cookie: away.net.Cookie(t), listeners: map[Family]*net.TCPListener{}}
	must(t, elsewhere.listen(away.net.Do))
	t.Cleanup(func() { must(t, elsewhere.halt()) })
	away.agent = elsewhere
	root, user := h.start(t, "billing"), h.start(t, "billing")
	user.do(t, request{Do: "setuid", Number: 4321})
	far := away.start(t, "billing")
	one, two := strings.Repeat("0a", 32), strings.Repeat("0b", 32)
	in := func(h *host, c *process, path string) told {
		t.Helper()
		c.moveTo(t, nested(t, h.cgroup, path))
		return h.toldOf(t, c)
	}
	container := in(h, root, "docker/"+one)
	slice := in(h, root, "user.slice/user-1000.slice/session-1.scope")
	for _, test := range []struct {
		name                 string
		got, than            told
		sameParty, samePlace bool
	}{
		{"another container", in(h, root, "docker/"+two), container, false, false},
		{"a cgroup of the container", in(h, root, "docker/"+one+"/inner"), container, true, true},
		{"another user in the container", in(h, user, "docker/"+one), container, false, true},
		{"another namespace in the container", in(away, far, "docker/"+one), container, false, true},
		{"another user in a user's slice", in(h, user, "user.slice/user-1000.slice/user@1000.service/x.service"), slice, true, true},
		{"another namespace in a user's slice", in(away, far, "user.slice/user-1000.slice/x.scope"), slice, false, true},
		{"another user's slice", in(h, root, "user.slice/user-1001.slice/session-1.scope"), slice, false, false},
	} {
		if same := areOne(t, test.got, test.than); same != test.sameParty {
			t.Errorf("%s is the same party: %v, want %v", test.name, same, test.sameParty)
		}
		if same := inOnePlace(t, test.got, test.than); same != test.samePlace {
			t.Errorf("%s is in the same place: %v, want %v", test.name, same, test.samePlace)
		}
	}
}
