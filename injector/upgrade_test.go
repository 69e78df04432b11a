package injector

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

var requestProtocol = regexp.MustCompile(`(?i)^(h2c|h2|http|tls)(/.*)?$`)

// withoutH2C are field lines as they have to arrive where a token may be due. It
// shares nothing with the code.
func withoutH2C(lines []string) (left []string) {
	var gone []string
	if slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(strings.ToLower(l), "upgrade:") }) {
		gone = []string{"http2-settings", "upgrade"}
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		if gone != nil && strings.EqualFold(name, "upgrade") && elements(value, requestProtocol.MatchString) != "" {
			gone = []string{"http2-settings"}
		}
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		drop := func(string) bool { return false }
		switch {
		case gone == nil:
		case strings.EqualFold(name, "http2-settings"):
			continue
		case strings.EqualFold(name, "upgrade"):
			drop = requestProtocol.MatchString
		case strings.EqualFold(name, "connection"):
			drop = func(s string) bool { return slices.Contains(gone, strings.ToLower(s)) }
		}
		switch kept := elements(value, drop); {
		case !slices.ContainsFunc(strings.Split(value, ","), func(s string) bool { return drop(strings.Trim(s, " \t")) }):
			left = append(left, line)
		case kept != "":
			left = append(left, name+":"+kept)
		}
	}
	return left
}

// elements joins the elements of a list that are not to be dropped.
func elements(list string, drop func(string) bool) string {
	return strings.Join(slices.DeleteFunc(strings.Split(list, ","), func(s string) bool {
		s = strings.Trim(s, " \t")
		return s == "" || drop(s)
	}), ",")
}

// Offers of protocols in which no request could get its token do not reach the server.
func TestOffersOfOtherProtocols(t *testing.T) {
	const settings = "HTTP2-Settings: AAMAAABkAARAAAAA\r\n"
	for name, c := range map[string]struct {
		fields, arrive string
	}{
		"the JDK":             {"Connection: Upgrade, HTTP2-Settings\r\n" + settings + "Upgrade: h2c\r\nX: y\r\n", "X: y\r\n"},
		"in another case":     {"connection: upgrade,http2-settings , Keep-Alive\r\nUPGRADE:H2C\r\n" + settings, "connection: Keep-Alive\r\n"},
		"beside websocket":    {"Upgrade: h2c, websocket\r\nConnection: HTTP2-Settings, Upgrade\r\n" + settings, "Upgrade: websocket\r\nConnection: Upgrade\r\n"},
		"in two lines":        {"Upgrade: h2c\r\nConnection: close\r\nUpgrade: x, HTTP/2.0\r\nConnection: Upgrade\r\n", "Connection: close\r\nUpgrade: x\r\nConnection: Upgrade\r\n"},
		"HTTP by versions":    {"Upgrade: HTTP/2.0, http/3, h2\r\nConnection: upgrade, X\r\n", "Connection: X\r\n"},
		"TLS":                 {"Upgrade: TLS/1.2\r\nConnection: Upgrade\r\n", ""},
		"websocket stays":     {"Upgrade: websocket\r\nConnection:Upgrade ,x\r\n", "Upgrade: websocket\r\nConnection:Upgrade ,x\r\n"},
		"SPDY of Kubernetes":  {"Upgrade: SPDY/3.1\r\nConnection: Upgrade\r\n", "Upgrade: SPDY/3.1\r\nConnection: Upgrade\r\n"},
		"settings alone":      {settings, settings},
		"many short elements": {"Connection:a,b,c,,d,Upgrade,e,f\r\nUpgrade:h2c\r\n", "Connection:a,b,c,d,e,f\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			client, upstream := w.pair()
			client.send(get + c.fields + "\r\n")
			upstream.expect(get + c.arrive + bearer + "\r\n")
			upstream.send(ok)
			client.expect(ok)
			w.use(workload.Injected)
			client.send(get + own + c.fields + "\r\n")
			if strings.Contains(c.fields, "close") {
				return
			}
			upstream.expect(get + bearer + c.arrive + "\r\n")
		})
	}
}

// They go on where no token can be due, or where it is another's connection.
func TestOffersElsewhere(t *testing.T) {
	const offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\n"
	for name, c := range map[string]struct {
		world   func(*world, *Config)
		head    string
		outcome workload.Outcome
		gone    bool
	}{
		"observed":         {with(ledger(observe)), get, workload.Observed, false},
		"not listed":       {with(ledger(foreign)), get, workload.NoIdentity, false},
		"unverified":       {unverified, get, workload.DestinationUnverified, false},
		"no destination":   {func(*world, *Config) {}, "GET / HTTP/1.1\r\nHost: elsewhere.internal\r\n", workload.NoDestination, false},
		"outside the rule": {with(ledger(onlyPosts)), get, workload.Untouched, true},
		"open, no token":   {both(with(ledger(open)), noToken), get, workload.TokenUnavailable, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.world)
			client, upstream := w.pair()
			client.send(c.head + offer + "\r\n")
			if c.gone {
				upstream.expect(c.head + "\r\n")
			} else {
				upstream.expect(c.head + offer + "\r\n")
			}
			upstream.send(ok)
			client.expect(ok)
			w.use(c.outcome)
		})
	}
}

// A server that switches although nothing was offered any more is not followed.
func TestSwitchToWhatWasTakenOut(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send(get + "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
	upstream.expect(get + bearer + "\r\n")
	upstream.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n")
	client.expect("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n")
	client.send(get + "\r\n")
	client.send(get + "\r\n")
	eventually(t, "the connection ends", func() bool { return w.server.Open() == 0 })
}

// FuzzWithoutOffers holds the code against the test's own, and that what is left is a
// head that frames and routes the same.
func FuzzWithoutOffers(f *testing.F) {
	for _, s := range []string{"Upgrade: h2c\r\n", "Connection: a,Upgrade\r\nUpgrade: h2c, x\r\nHTTP2-Settings: y\r\n", "Upgrade:,,h2,\r\nConnection:\r\n", "Upgrade:\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, fields string) {
		b := []byte("GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n")
		h, done, err := parseHead(b)
		if !done || err != nil || h.size() != len(b) || !h.upgrade {
			return
		}
		want := "GET / HTTP/1.1\r\n" + strings.Join(append(withoutH2C(strings.Split(strings.TrimSuffix(string(b[len("GET / HTTP/1.1\r\n"):]), "\r\n\r\n"), "\r\n")), "\r\n"), "\r\n")
		framing, at := h.framing, h.authority
		got := string(withoutOffers(b))
		if got != want {
			t.Fatalf("%q is left of %q, want %q", got, fields, want)
		}
		again, done, err := parseHead([]byte(got))
		if !done || err != nil || again.framing != framing || again.authority != at || again.size() != len(got) {
			t.Fatalf("%q is left of %q: %t, %v", got, fields, done, err)
		}
	})
}
