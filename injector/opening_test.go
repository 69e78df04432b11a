package injector

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
)

var errDead = errors.New("connection refused")

func stranger(w *world, _ *Config) {
	w.setPolicy(&policy{destinations: []*workload.Destination{ledger()}})
}

// No identity: relayed as it is, whatever it is, and the kernel is told.
func TestStrangerIsRelayed(t *testing.T) {
	for _, bytes := range []string{get + "\r\n", "\x16\x03\x01\x00", "GET", "GET / HTTP/1.1\nbroken: \x00\n\n"} {
		w := newWorld(t, stranger)
		client, upstream := w.pair()
		client.send(bytes)
		upstream.expect(bytes)
		upstream.send("anything")
		client.expect("anything")
		upstream.send("more")
		upstream.closeWrite()
		client.expect("more")
		client.expectEnd()
		client.send("still")
		client.closeWrite()
		upstream.expect("still")
		upstream.expectEnd()
		if u := w.use(workload.NoIdentity); u.Executable == "" || u.Identity != "" {
			t.Errorf("record %+v", u)
		}
		if n := w.bystanders.Load(); n != 1 {
			t.Errorf("told the kernel %d times", n)
		}
	}
}

// A process that cannot be attributed gets no token, but its next connection is
// looked at again.
func TestUnattributedIsRelayed(t *testing.T) {
	w := newWorld(t, func(w *world, _ *Config) {
		w.attribute = func(context.Context) (*workload.Process, error) { return nil, errors.New("no such process") }
	})
	client, upstream := w.pair()
	client.send(get + "\r\n")
	upstream.expect(get + "\r\n")
	client.closeWrite()
	upstream.close()
	client.expectEnd()
	if u := w.use(workload.NoIdentity); u.Reason == nil {
		t.Error("no reason")
	}
	if n := w.bystanders.Load(); n != 0 {
		t.Errorf("told the kernel %d times", n)
	}
}

// What is no HTTP/1 is relayed from its first byte.
func TestNotHTTP(t *testing.T) {
	for name, c := range map[string]struct{ first, second string }{
		"TLS":            {"\x16", "\x03\x01\x02\x00\x01"},
		"HTTP/2":         {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x00\x00\x00\x04"},
		"SSH":            {"SSH-2.0-OpenSSH_9\r\n", "x"},
		"SMTP":           {"EHLO me\r\n", "x"},
		"RTSP":           {"OPTIONS * RTSP/1.0\r\n", "x"},
		"HTTP/0.9":       {"GET /\r\n", "x"},
		"space at first": {" GET / HTTP/1.1\r\n", "x"},
		"end at once":    {"", ""},
		"end in a word":  {"GET", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, with(ledger(open)))
			client, upstream := w.pair()
			client.send(c.first)
			if c.second == "" {
				client.closeWrite()
			}
			upstream.expect(c.first)
			upstream.send("answer")
			client.expect("answer")
			client.send(c.second)
			upstream.expect(c.second)
			client.close()
			upstream.expectEnd()
			upstream.close()
			w.use(workload.NotHTTP)
		})
	}
}

// A server that speaks first is relayed at once, while the client is silent.
func TestServerSpeaksFirst(t *testing.T) {
	for _, held := range []string{"", "GE"} {
		w := newWorld(t, with(ledger(open)))
		client, upstream := w.pair()
		client.send(held)
		upstream.send("220 mail\r\n")
		client.expect("220 mail\r\n")
		upstream.expect(held)
		client.send(get + "\r\n") // no HTTP any more
		upstream.expect(get + "\r\n")
		upstream.close()
		client.expectEnd()
		client.close()
		w.use(workload.NotHTTP)
	}
}

// A connection that is opened to be at hand, and closed, is no use of anything.
func TestUnusedConnection(t *testing.T) {
	for _, world := range []func(*world, *Config){stranger, func(*world, *Config) {}} {
		w := newWorld(t, world)
		client, upstream := w.pair()
		client.close()
		upstream.expectEnd()
		upstream.close()
		eventually(t, "the connection ends", func() bool { return w.server.Open() == 0 })
		if n := len(w.uses); n != 0 {
			t.Errorf("%d records", n)
		}
	}
}

func TestOpaqueReset(t *testing.T) {
	w := newWorld(t, with(ledger(open)))
	client, upstream := w.pair()
	client.send("\x16")
	upstream.expect("\x16")
	upstream.reset()
	client.expectReset()
	w.use(workload.NotHTTP)
}

var good = netip.MustParseAddrPort("192.0.2.11:80")

// dead makes only the good address answer; the name has it among others.
func dead(w *world, _ *Config) {
	w.dial = func(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
		if to != good {
			return nil, errDead
		}
		return w.connect(ctx)
	}
	w.others = func(host string, addr netip.AddrPort) ([]netip.Addr, error) {
		if host != "ledger.internal" || addr != original {
			return nil, errByHand
		}
		return []netip.Addr{
			original.Addr(), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("127.0.0.1"),
			netip.MustParseAddr("169.254.169.254"), netip.MustParseAddr("0.0.0.0"), good.Addr(),
		}, nil
	}
}

var errByHand = errors.New("this is no address of the host")

// hanging is dead with addresses that do not even refuse.
func hanging(w *world, c *Config) {
	dead(w, c)
	w.dial = func(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
		if to != good {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return w.connect(ctx)
	}
}

func TestFailover(t *testing.T) {
	for name, c := range map[string]struct {
		world func(*world, *Config)
		host  string
		token bool
		want  workload.Outcome
	}{
		"dead":        {dead, "ledger.internal", true, workload.Injected},
		"hanging":     {hanging, "ledger.internal", true, workload.Injected},
		"stranger":    {both(dead, stranger), "ledger.internal", false, workload.NoIdentity},
		"slow caller": {both(hanging, stranger), "ledger.internal", false, workload.NoIdentity},
	} {
		t.Run(name, func(t *testing.T) {
			var verified netip.AddrPort
			w := newWorld(t, c.world, func(w *world, _ *Config) {
				w.verify = func(_ string, addr netip.AddrPort) error { verified = addr; return nil }
			})
			client := w.client()
			head := "GET / HTTP/1.1\r\nHost: " + c.host + "\r\n"
			client.send(head)
			client.send("\r\n")
			upstream := w.upstream()
			want := head + "\r\n"
			if c.token {
				want = head + bearer + "\r\n"
			}
			upstream.expect(want)
			upstream.send(ok)
			client.expect(ok)
			client.close()
			upstream.expectEnd()
			upstream.close()
			w.use(c.want)
			if c.token && verified != good {
				t.Errorf("verified %v, not the address that was dialled", verified)
			}
			for _, to := range w.dialled {
				if a := to.Addr(); a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsUnspecified() || to.Port() != original.Port() {
					t.Errorf("dialled %v", to)
				}
			}
		})
	}
}

// TestFailoverLooksUpForListedCallersOnly: anybody else's failover asks for what is
// known anyway, and has no name looked up.
func TestFailoverLooksUpForListedCallersOnly(t *testing.T) {
	unattributed := func(w *world, _ *Config) {
		w.attribute = func(context.Context) (*workload.Process, error) { return nil, errors.New("no such process") }
	}
	unlisted := func(w *world, _ *Config) {
		w.setPolicy(&policy{identity: billing, destinations: []*workload.Destination{ledger(foreign)}})
	}
	for name, c := range map[string]struct {
		world func(*world, *Config)
		want  string
	}{
		"listed":             {dead, billing.Name},
		"identity elsewhere": {both(dead, unlisted), ""},
		"stranger":           {both(dead, stranger), ""},
		"not attributed":     {both(dead, unattributed), ""},
		"tie":                {both(dead, tied(ledger(open))), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.world)
			client := w.client()
			client.send(get + "\r\n")
			upstream := w.upstream()
			if got := w.lookedUpFor.Load(); got == nil {
				t.Error("nobody asked for other addresses")
			} else if *got != c.want {
				t.Errorf("looked up on the account of %q, want %q", *got, c.want)
			}
			client.close()
			upstream.close()
			eventually(t, "the connection ends", func() bool { return w.server.Open() == 0 })
		})
	}
}

// Where another address might answer, but is none that the registered destination
// has for this connection: the client is reset, and nothing else is ever dialled.
func TestNoFailoverElsewhere(t *testing.T) {
	chosen := func(w *world, _ *Config) {
		w.others = func(string, netip.AddrPort) ([]netip.Addr, error) { return nil, errByHand }
	}
	otherPort := func(w *world, _ *Config) {
		d := ledger()
		d.Ports = []uint16{8080}
		w.setPolicy(&policy{identity: billing, destinations: []*workload.Destination{d}})
	}
	const elsewhere = "GET / HTTP/1.1\r\nHost: elsewhere.internal\r\n\r\n"
	for name, c := range map[string]struct {
		world   func(*world, *Config)
		request string
		reason  error
	}{
		"unregistered":               {dead, elsewhere, errDead},
		"unregistered, slow":         {hanging, elsewhere, context.DeadlineExceeded},
		"unregistered, of nobody":    {both(dead, stranger), elsewhere, errDead},
		"an address of its choice":   {both(dead, chosen), get + "\r\n", errByHand},
		"nobody's choice of address": {both(dead, both(stranger, chosen)), get + "\r\n", errByHand},
		"registered at another port": {both(dead, otherPort), get + "\r\n", errDead},
		"another port in Host":       {dead, "GET / HTTP/1.1\r\nHost: ledger.internal:8080\r\n\r\n", errDead},
		"a tunnel's target":          {dead, "CONNECT ledger.internal:80 HTTP/1.1\r\nHost: ledger.internal:80\r\n\r\n", errDead},
		"a proxy's foreign target":   {dead, "GET https://ledger.internal:80/ HTTP/1.1\r\nHost: ledger.internal\r\n\r\n", errDead},
		"what a second one names":    {dead, elsewhere + get + "\r\n", errDead},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.world, func(_ *world, c *Config) { c.Limits.Dial = 2 * time.Second })
			client := w.client()
			client.send(c.request)
			client.expectReset()
			if u := w.use(workload.UpstreamFailed); !errors.Is(u.Reason, c.reason) {
				t.Errorf("reason %v, want %v", u.Reason, c.reason)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if !slices.Equal(w.dialled, []netip.AddrPort{original}) {
				t.Errorf("dialled %v, want %v alone", w.dialled, original)
			}
		})
	}
}

func TestUpstreamFailed(t *testing.T) {
	unreachable := func(w *world, c *Config) {
		dead(w, c)
		w.dial = func(context.Context, netip.AddrPort) (*net.TCPConn, error) { return nil, errDead }
	}
	for name, c := range map[string]struct {
		world func(*world, *Config)
		send  string
	}{
		"no address answers": {unreachable, get + "\r\n"},
		"name unknown":       {unreachable, "GET / HTTP/1.1\r\nHost: nowhere.internal\r\n\r\n"},
		"no name":            {unreachable, "GET / HTTP/1.0\r\n\r\n"},
		"silent client":      {unreachable, ""},
		"slow head":          {unreachable, "GET / HTTP/1.1\r\nHo"},
		"not HTTP":           {unreachable, "\x16\x03"},
		"stranger":           {both(unreachable, stranger), get + "\r\n"},
		"silent stranger":    {both(unreachable, stranger), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.world)
			client := w.client()
			client.send(c.send)
			client.expectReset()
			if u := w.use(workload.UpstreamFailed); !errors.Is(u.Reason, errDead) {
				t.Errorf("reason %v", u.Reason)
			}
		})
	}
}

func TestAlternatives(t *testing.T) {
	addrs := func(s string) (all []netip.Addr) {
		for _, a := range strings.Fields(s) {
			all = append(all, netip.MustParseAddr(a))
		}
		return all
	}
	for _, c := range []struct{ original, addrs, want string }{
		{"192.0.2.1:80", "192.0.2.1 192.0.2.2 192.0.2.2 2001:db8::1", "[2001:db8::1]:80 192.0.2.2:80"},
		{"[2001:db8::1]:443", "2001:db8::1 2001:db8::2 192.0.2.1", "192.0.2.1:443 [2001:db8::2]:443"},
		{"192.0.2.1:80", "127.0.0.1 ::1 169.254.169.254 fe80::1 0.0.0.0 :: 224.0.0.1 ff02::1 ::ffff:127.0.0.1", ""},
		{"127.0.0.1:80", "::1 127.0.0.2 169.254.1.1 192.0.2.1", "[::1]:80 127.0.0.2:80 192.0.2.1:80"},
		{"169.254.1.1:80", "169.254.1.2 127.0.0.1", "169.254.1.2:80"},
		{"192.0.2.1:80", "::ffff:192.0.2.2 ::ffff:192.0.2.1", "192.0.2.2:80"},
	} {
		var got []string
		for _, a := range alternatives(netip.MustParseAddrPort(c.original), addrs(c.addrs)) {
			got = append(got, a.String())
		}
		if !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%s with %s: %v, want %s", c.original, c.addrs, got, c.want)
		}
	}
	if n := len(alternatives(original, addrs(many(100)))); n != maxAlternatives {
		t.Errorf("%d alternatives", n)
	}
}

func many(n int) string {
	var s strings.Builder
	a := netip.MustParseAddr("198.51.100.1")
	for range n {
		s.WriteString(a.String() + " ")
		a = a.Next()
	}
	return s.String()
}

// unread returns how many bytes the injector has not yet read from the client.
func (w *world) unread() (n int) {
	w.server.eachConn(func(c *conn) {
		raw, err := c.client.SyscallConn()
		must(w.t, err)
		must(w.t, raw.Control(func(fd uintptr) {
			k, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ)
			must(w.t, err)
			n += k
		}))
	})
	return n
}

// The first bytes are held until the destination answers, and then pass on even
// if they do not yet say what they begin.
func TestHeldBytesPassOnWhenDialled(t *testing.T) {
	answer := make(chan struct{})
	w := newWorld(t, stranger, func(w *world, _ *Config) {
		dial := w.dial
		w.dial = func(ctx context.Context, to netip.AddrPort) (*net.TCPConn, error) {
			<-answer
			return dial(ctx, to)
		}
	})
	client := w.client()
	client.send("GE")
	eventually(t, "the first bytes were read", func() bool { return w.server.Open() == 1 && w.unread() == 0 })
	close(answer)
	w.upstream().expect("GE")
}

// A policy that cannot tell who calls is no reason to tell the kernel anything.
func TestUnidentifiedIsRelayed(t *testing.T) {
	broken := errors.New("the name of the user cannot be looked up")
	w := newWorld(t, func(w *world, _ *Config) { w.setPolicy(&policy{err: broken}) })
	client, upstream := w.pair()
	client.send(get + "\r\n")
	upstream.expect(get + "\r\n")
	upstream.close()
	client.expectEnd()
	client.close()
	if u := w.use(workload.NoIdentity); !errors.Is(u.Reason, broken) {
		t.Errorf("reason %v", u.Reason)
	}
	if n := w.bystanders.Load(); n != 0 {
		t.Errorf("told the kernel %d times", n)
	}
}
