package injector

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// Whatever of an identity leaves without its token says why, and where to.
func TestAnonymousReasons(t *testing.T) {
	const host = "Host: ledger.internal\r\n"
	elsewhere := func(w *world, _ *Config) {
		w.knows = func(*workload.Destination, netip.AddrPort) bool { return false }
	}
	for name, c := range map[string]struct {
		world   func(*world, *Config)
		request string
		want    workload.Anonymous
	}{
		"injected":          {nil, get, ""},
		"observed":          {with(ledger(observe)), get, workload.AnonymousObserved},
		"not listed":        {with(ledger(foreign)), get, workload.AnonymousNotListed},
		"method":            {with(ledger(onlyPosts)), get, workload.AnonymousMethod},
		"path":              {with(ledger(onlyPosts)), "POST /other HTTP/1.1\r\n" + host, workload.AnonymousPath},
		"unsafe path":       {with(ledger(onlyPosts)), "POST /api/..;/x HTTP/1.1\r\n" + host, workload.AnonymousUnsafePath},
		"TRACE":             {nil, "TRACE / HTTP/1.1\r\n" + host, workload.AnonymousTrace},
		"scheme":            {nil, "GET https://ledger.internal:80/ HTTP/1.1\r\n" + host, workload.AnonymousScheme},
		"own":               {with(ledger(keep)), get + own, workload.AnonymousOwn},
		"unverified":        {unverified, get, workload.AnonymousUnverified},
		"another port":      {nil, "GET / HTTP/1.1\r\nHost: ledger.internal:8080\r\n", workload.AnonymousPort},
		"unknown host":      {nil, toElsewhere, workload.AnonymousUnknownHost},
		"unknown elsewhere": {elsewhere, toElsewhere, ""},
		"unknown, unlisted": {with(ledger(foreign)), toElsewhere, ""},
		"no host":           {nil, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n", workload.AnonymousNoHost},
		"tie":               {tied(ledger(open)), get, workload.AnonymousAmbiguous},
		"gone":              {both(with(ledger(open)), imageGone), get, workload.AnonymousUnknownCaller},
		"no token":          {both(with(ledger(open)), noToken), get, workload.AnonymousNoToken},
		"a bystander":       {stranger, get, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if c.world == nil {
				c.world = func(*world, *Config) {}
			}
			w := newWorld(t, c.world)
			client, upstream := w.pair()
			client.send(c.request + "\r\n")
			if c.want == "" && name == "injected" {
				upstream.expect(c.request + bearer + "\r\n")
			} else {
				upstream.expect(c.request + "\r\n")
			}
			upstream.send(ok)
			client.expect(ok)
			client.close()
			upstream.expectEnd()
			upstream.close()
			u := <-w.uses
			if u.Anonymous != c.want || c.want != "" && u.Destination+u.Nearby != "ledger" {
				t.Errorf("record %+v, want %q", u, c.want)
			}
		})
	}
}

// What is answered here leaves by no reason.
func TestRefusedIsNotAnonymous(t *testing.T) {
	for name, world := range map[string]func(*world, *Config){"no token": noToken, "tie": tied(ledger()), "refuse": with(ledger(refuse))} {
		w := newWorld(t, world)
		client, _ := w.pair()
		client.send(get + own + "\r\n")
		client.rest()
		if u := <-w.uses; u.Anonymous != "" || u.Status < 400 {
			t.Errorf("%s: record %+v", name, u)
		}
	}
}

// An operator is told of each unknown host once, with what to write, and no program's
// hosts fill the log.
func TestUnknownHostIsTold(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	ask := func(host string) {
		request := fmt.Sprintf("GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host)
		client.send(request)
		upstream.expect(request)
		upstream.send(ok)
		client.expect(ok)
		w.use(workload.NoDestination)
	}
	ask("nginx_upstream")
	ask("other")
	ask("nginx_upstream")
	logged := w.logged()
	for _, want := range []string{"level=INFO", "hosts: [ledger.internal, nginx_upstream]", "identity=billing", "destination=ledger", original.String()} {
		if !strings.Contains(logged, want) {
			t.Errorf("%q lacks %q", logged, want)
		}
	}
	if n := strings.Count(logged, "host=nginx_upstream"); n != 1 {
		t.Errorf("told %d times", n)
	}
	for i := range 3 * maxUnknownHosts {
		ask(fmt.Sprint("h", i))
	}
	if n := strings.Count(w.logged(), "\n"); n != maxUnknownHosts {
		t.Errorf("%d lines, want %d", n, maxUnknownHosts)
	}
	if !strings.Contains(w.logged(), "told no more") {
		t.Error("the last line does not say that it is")
	}
}

func TestOneIdentitysHostsLeaveAnothersTold(t *testing.T) {
	var u unknownHosts
	for i := range 10_000 {
		u.first("flood", fmt.Sprint(i))
	}
	if first, _ := u.first("billing", "a"); !first {
		t.Error("a host of another identity is not told")
	}
	for i := range 10_000 {
		u.first(fmt.Sprint(i), "a")
	}
	if n := len(u.told); n > maxUnknownIdentities {
		t.Errorf("%d identities are remembered", n)
	}
}
