package injector

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// What is no HTTP does not go to a destination that fails closed: no byte arrives, the
// client is told in its own protocol, and the record says what to do.
func TestProtocolRefused(t *testing.T) {
	const goaway = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for name, c := range map[string]struct {
		pieces []string
		answer string // begins so
		remedy string
	}{
		"TLS":            {[]string{"\x16", "\x03\x01"}, "\x15\x03\x03\x00\x02\x02\x31", "http://"},
		"HTTP/2":         {[]string{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}, goaway, "HTTP/1.1"},
		"HTTP/2, pieces": {[]string{"PRI * HT", "TP/2.0\r\n\r\nSM\r\n\r\n"}, goaway, "HTTP/1.1"},
		"SSH":            {[]string{"SSH-2.0-OpenSSH_9\r\n"}, "HTTP/1.1 400 ", "port"},
		"HTTP/0.9":       {[]string{"GET /\r\n"}, "HTTP/1.1 400 ", "port"},
		"RTSP":           {[]string{"OPTIONS * RTSP/1.0\r\n"}, "HTTP/1.1 400 ", "port"},
		"too many lines": {[]string{strings.Repeat("\r\n", maxEmptyLines+1), get}, "HTTP/1.1 400 ", "port"},
		"NUL":            {[]string{"\x00"}, "HTTP/1.1 400 ", "port"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			client, upstream := w.pair()
			for _, piece := range c.pieces {
				_, _ = client.conn.Write([]byte(piece)) // it may have been ended by the first one
			}
			got := client.rest()
			if !strings.HasPrefix(got, c.answer) {
				t.Errorf("received %q", got)
			}
			if name == "HTTP/2" && !strings.Contains(got, "\x00\x00\x00\x0dDestination ledger ") {
				t.Errorf("received %q, without HTTP_1_1_REQUIRED and a reason", got)
			}
			upstream.expectEnd()
			u := w.use(workload.ProtocolRefused)
			if u.Destination != "ledger" || u.Identity != "billing" || u.Anonymous != "" || !strings.Contains(fmt.Sprint(u.Reason), c.remedy) {
				t.Errorf("record %+v", u)
			}
			if logged := w.logged(); !strings.Contains(logged, "on_failure: open") {
				t.Errorf("logged %q", logged)
			}
		})
	}
}

// Everybody else's connections are theirs: nothing is held against them, nothing changed.
func TestOtherProtocolsElsewhere(t *testing.T) {
	notThere := func(w *world, _ *Config) { w.knows = func(*workload.Destination, netip.AddrPort) bool { return false } }
	othersServe := func(w *world, _ *Config) {
		with(ledger(func(d *workload.Destination) { d.ServedBy = someServer(t) }))(w, nil)
		w.servedBy = func(_, _ netip.AddrPort) error { return errors.New("somebody else") }
	}
	for name, c := range map[string]struct {
		world     func(*world, *Config)
		outcome   workload.Outcome
		anonymous workload.Anonymous
	}{
		"open":                {with(ledger(open)), workload.NotHTTP, workload.AnonymousNotHTTP},
		"observed":            {with(ledger(observe)), workload.NotHTTP, workload.AnonymousNotHTTP},
		"not listed":          {with(ledger(foreign)), workload.NotHTTP, ""},
		"another address":     {notThere, workload.NotHTTP, ""},
		"served by others":    {othersServe, workload.NotHTTP, ""},
		"a bystander":         {stranger, workload.NoIdentity, ""},
		"a tie not listed":    {tied(ledger(foreign)), workload.NotHTTP, ""},
		"no destination here": {func(w *world, _ *Config) { w.setPolicy(&policy{identity: billing}) }, workload.NotHTTP, ""},
	} {
		for _, first := range []string{"\x16\x03\x01", "\r\nEHLO\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"} {
			t.Run(name+"/"+first[:1], func(t *testing.T) {
				w := newWorld(t, c.world)
				client, upstream := w.pair()
				client.send(first)
				upstream.expect(first)
				upstream.send("answer")
				client.expect("answer")
				client.close()
				upstream.expectEnd()
				upstream.close()
				if told := strings.Contains(w.logged(), "destination=ledger"); told != (name == "open") {
					t.Errorf("logged %q", w.logged())
				}
				if u := w.use(c.outcome); u.Anonymous != c.anonymous || (u.Nearby != "") != (c.anonymous != "") {
					t.Errorf("record %+v", u)
				}
			})
		}
	}
}

// Who ties, or is not known for sure, is no bystander.
func TestProtocolRefusedToDoubtfulCallers(t *testing.T) {
	for name, world := range map[string]func(*world, *Config){
		"tie":          tied(ledger()),
		"unattributed": both(byKernel, func(w *world, _ *Config) { w.unknown.Store(true) }),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, world)
			client, upstream := w.pair()
			client.send("\x16")
			client.expect("\x15\x03\x03\x00\x02\x02\x31")
			upstream.expectEnd()
			w.use(workload.ProtocolRefused)
		})
	}
}

// What a server says by itself is passed on at once, and who only listens is left in
// peace; an answer goes to nobody who has one of the server's already.
func TestServerSpeaksFirstAtAClosedDestination(t *testing.T) {
	t.Run("to a listener", func(t *testing.T) {
		w := newWorld(t)
		client, upstream := w.pair()
		upstream.send("the time")
		client.expect("the time")
		client.closeWrite()
		upstream.expectEnd()
		upstream.send(" is late")
		client.expect(" is late")
		upstream.close()
		client.expectEnd()
		if u := w.use(workload.NotHTTP); u.Anonymous != "" {
			t.Errorf("record %+v", u)
		}
	})
	for name, said := range map[string]string{"another protocol": "EHLO me\r\n", "a request after a timeout": get + "\r\n"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			client, upstream := w.pair()
			upstream.send("HTTP/1.1 408 Request Timeout\r\n\r\n")
			client.expect("HTTP/1.1 408 Request Timeout\r\n\r\n")
			client.send(said)
			upstream.expectEnd()
			client.expectEnd()
			w.use(workload.ProtocolRefused)
		})
	}
}

// An empty line before the first request, a first line in pieces, and a pause within
// it make no connection anonymous.
func TestFirstLine(t *testing.T) {
	for name, before := range map[string]string{"CR LF": "\r\n", "LF": "\n", "several": "\r\n\n\r\n", "most": strings.Repeat("\r\n", maxEmptyLines)} {
		for kind, change := range map[string]func(*workload.Destination){"closed": func(*workload.Destination) {}, "open": open} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				w := newWorld(t, with(ledger(change)))
				client, upstream := w.pair()
				client.send(before + get + "\r\n")
				upstream.expect(get + bearer + "\r\n")
				upstream.send(ok)
				client.expect(ok)
				w.use(workload.Injected)
			})
			t.Run(name+"/"+kind+"/byte by byte", func(t *testing.T) {
				w := newWorld(t, with(ledger(change)))
				client, upstream := w.pair()
				for _, b := range before + get + "\r\n" {
					client.send(string(b))
					eventually(t, "it was read", func() bool { return w.unread() == 0 })
				}
				upstream.expect(get + bearer + "\r\n")
				w.server.eachConn(func(c *conn) { c.abort(errOver) })
			})
		}
	}
	t.Run("a pause", func(t *testing.T) {
		w := newWorld(t)
		client, upstream := w.pair()
		client.send("\r\nGE")
		w.waitFor("the first line has begun", inPhase(phaseHead))
		w.pass(w.server.limits().Head - 2*time.Second)
		client.send(get[2:] + "\r\n")
		upstream.expect(get + bearer + "\r\n")
		upstream.send(ok)
		client.expect(ok)
		w.use(workload.Injected)
	})
	t.Run("for ever", func(t *testing.T) {
		w := newWorld(t)
		client, upstream := w.pair()
		client.send("ruok")
		w.waitFor("the first line has begun", inPhase(phaseHead))
		w.pass(w.server.limits().Head / 2)
		client.send("x") // gives it no more time
		w.pass(w.server.limits().Head/2 + 2*time.Second)
		client.expectProblem("408", workload.BadRequest)
		upstream.expectEnd()
		w.use(workload.BadRequest)
	})
	t.Run("cut", func(t *testing.T) {
		w := newWorld(t)
		client, upstream := w.pair()
		client.send("GET")
		client.closeWrite()
		client.expectProblem("400", workload.ProtocolRefused)
		upstream.expectEnd()
		w.use(workload.ProtocolRefused)
	})
}

func someServer(t *testing.T) workload.Selector {
	t.Helper()
	s, err := workload.NewSelector(workload.SelectorSpec{SystemdUnits: []string{"ledger.service"}}, nil)
	must(t, err)
	return s
}

// Where no token can be due, an empty line is as much another's as all that follows.
func TestEmptyLineElsewhere(t *testing.T) {
	for name, world := range map[string]func(*world, *Config){
		"observed": with(ledger(observe)), "not listed": with(ledger(foreign)),
		"another address": func(w *world, _ *Config) { w.knows = func(*workload.Destination, netip.AddrPort) bool { return false } },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, world)
			client, upstream := w.pair()
			client.send("\r\n" + get + "\r\n")
			upstream.expect("\r\n" + get + "\r\n")
		})
	}
}
