package authority

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
)

// requestFrom is a request of that peer, with these fields.
func requestFrom(peer string, fields ...[2]string) *http.Request {
	r := &http.Request{RemoteAddr: peer, Header: http.Header{}}
	for _, field := range fields {
		r.Header.Add(field[0], field[1])
	}
	return r
}

// proxied are proxies of the tests: a network of each family, and one address.
func proxied(t testing.TB) []netip.Prefix {
	t.Helper()
	networks, err := parseProxies([]string{"10.0.0.0/8", " 2001:db8:ffff::/48", "192.0.2.80"})
	if err != nil {
		t.Fatal(err)
	}
	return networks
}

func TestSourceBehindProxies(t *testing.T) {
	xff := func(v string) [2]string { return [2]string{xForwardedFor, v} }
	fwd := func(v string) [2]string { return [2]string{forwarded, v} }
	const proxy, unsure = "10.0.0.1:9", "?"
	for name, tt := range map[string]struct {
		peer   string
		fields [][2]string
		want   string // with unsure at its end, there is a doubt
	}{
		"no proxy":                   {"198.51.100.1:9", nil, "198.51.100.1"},
		"a peer that is not trusted": {"198.51.100.1:9", [][2]string{xff("203.0.113.1"), fwd("for=203.0.113.1")}, "198.51.100.1"},
		"next to a trusted address":  {"192.0.2.81:9", [][2]string{xff("203.0.113.1")}, "192.0.2.81"},
		"no IP address":              {"@", [][2]string{xff("203.0.113.1")}, unsure},
		"a proxy for itself":         {proxy, nil, "10.0.0.1"},
		"one hop":                    {proxy, [][2]string{xff("203.0.113.1")}, "203.0.113.1"},
		"one hop, IPv6":              {"[2001:db8:ffff::1]:9", [][2]string{xff("2001:db8::7")}, "2001:db8::7"},
		"a mapped proxy":             {"[::ffff:10.0.0.1]:9", [][2]string{xff("203.0.113.1")}, "203.0.113.1"},
		"a mapped source":            {proxy, [][2]string{xff("::ffff:203.0.113.1")}, "203.0.113.1"},
		"a mapped proxy within":      {proxy, [][2]string{xff("203.0.113.1, ::ffff:10.0.0.2")}, "203.0.113.1"},
		"with a port":                {proxy, [][2]string{xff("203.0.113.1:55")}, "203.0.113.1"},
		"IPv6 with a port":           {proxy, [][2]string{xff("[2001:db8::7]:55")}, "2001:db8::7"},
		"IPv6 in brackets":           {proxy, [][2]string{xff("[2001:db8::7]")}, "2001:db8::7"},
		"the client's own":           {proxy, [][2]string{xff("127.0.0.1, 203.0.113.1")}, "203.0.113.1"},
		"the client's own line":      {proxy, [][2]string{xff("127.0.0.1"), xff("203.0.113.1")}, "203.0.113.1"},
		"the client names a proxy":   {proxy, [][2]string{xff("127.0.0.1,10.0.0.2,203.0.113.1")}, "203.0.113.1"},
		"the client's nonsense":      {proxy, [][2]string{xff(`",,;x, 203.0.113.1`)}, "203.0.113.1"},
		"three proxies":              {proxy, [][2]string{xff("127.0.0.1, 203.0.113.1,\t192.0.2.80 , 10.9.9.9")}, "203.0.113.1"},
		"all of them proxies":        {proxy, [][2]string{xff("10.0.0.3, 10.0.0.2")}, "10.0.0.3"},
		"unreadable":                 {proxy, [][2]string{xff("203.0.113.1, unknown")}, "10.0.0.1" + unsure},
		"unreadable, further off":    {proxy, [][2]string{xff("127.0.0.1, x, 10.0.0.2")}, "10.0.0.2" + unsure},
		"empty":                      {proxy, [][2]string{xff("")}, "10.0.0.1" + unsure},
		"empty, other field":         {proxy, [][2]string{xff(""), fwd("for=203.0.113.1")}, "10.0.0.1" + unsure},
		"an empty element":           {proxy, [][2]string{xff("203.0.113.1,")}, "10.0.0.1" + unsure},
		"an empty line":              {proxy, [][2]string{xff("203.0.113.1"), xff("")}, "10.0.0.1" + unsure},
		"a zone":                     {proxy, [][2]string{xff("fe80::1%eth0")}, "10.0.0.1" + unsure},
		"a network":                  {proxy, [][2]string{xff("203.0.113.0/24")}, "10.0.0.1" + unsure},
		"leading zeros":              {proxy, [][2]string{xff("203.0.113.010")}, "10.0.0.1" + unsure},
		"IPv4 in brackets":           {proxy, [][2]string{xff("[203.0.113.1]")}, "10.0.0.1" + unsure},
		"quoted":                     {proxy, [][2]string{xff(`"203.0.113.1"`)}, "10.0.0.1" + unsure},
		"both fields":                {proxy, [][2]string{xff("203.0.113.1"), fwd("for=127.0.0.1")}, "203.0.113.1"},
		"Forwarded":                  {proxy, [][2]string{fwd("for=203.0.113.1")}, "203.0.113.1"},
		"Forwarded, not trusted":     {"198.51.100.1:9", [][2]string{fwd("for=203.0.113.1")}, "198.51.100.1"},
		"Forwarded, IPv6":            {proxy, [][2]string{fwd(`proto=https;For="[2001:db8::7]:55" ; by=10.0.0.1`)}, "2001:db8::7"},
		"Forwarded, quoted":          {proxy, [][2]string{fwd(`for="203.0.113.1"`)}, "203.0.113.1"},
		"Forwarded, by a comma":      {proxy, [][2]string{fwd(`for=203.0.113.1;host="a,for=127.0.0.1;b"`)}, "203.0.113.1"},
		"Forwarded, two proxies":     {proxy, [][2]string{fwd("for=127.0.0.1, for=203.0.113.1"), fwd("for=10.0.0.2")}, "203.0.113.1"},
		"Forwarded, client's quote":  {proxy, [][2]string{fwd(`for="127.0.0.1, for=203.0.113.1`)}, "203.0.113.1"},
		"Forwarded, unknown":         {proxy, [][2]string{fwd("for=203.0.113.1, for=unknown")}, "10.0.0.1" + unsure},
		"Forwarded, a made-up name":  {proxy, [][2]string{fwd("for=_hidden")}, "10.0.0.1" + unsure},
		"Forwarded, nobody":          {proxy, [][2]string{fwd("for=203.0.113.1, proto=https")}, "10.0.0.1" + unsure},
		"Forwarded, twice":           {proxy, [][2]string{fwd("for=203.0.113.1;for=127.0.0.1")}, "10.0.0.1" + unsure},
		"Forwarded, an escape":       {proxy, [][2]string{fwd(`for="203.0.113.\1"`)}, "10.0.0.1" + unsure},
		"Forwarded, no pair":         {proxy, [][2]string{fwd("203.0.113.1")}, "10.0.0.1" + unsure},
		"Forwarded, half a quote":    {proxy, [][2]string{fwd(`for=203.0.113.1"`)}, "10.0.0.1" + unsure},
		"Forwarded, empty":           {proxy, [][2]string{fwd("")}, "10.0.0.1" + unsure},
	} {
		t.Run(name, func(t *testing.T) {
			got := sourceOf(requestFrom(tt.peer, tt.fields...), proxied(t))
			want, doubt := strings.CutSuffix(tt.want, unsure)
			if got.String() != want || (got.doubt != "") != doubt {
				t.Errorf("got %q, doubt %q, want %q", got, got.doubt, tt.want)
			}
		})
	}
}

// FuzzSourceBehindAProxy: whatever a client writes into either field, before the
// proxy adds what it sees, the source is what the proxy saw.
func FuzzSourceBehindAProxy(f *testing.F) {
	for _, seed := range []string{"", "127.0.0.1", `for="`, `"`, `,",`, "for=10.0.0.1", ";", "10.0.0.2, 10.0.0.3", `for="\"`} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	trusted := proxied(f)
	f.Fuzz(func(t *testing.T, client string, oneLine bool) {
		for name, added := range map[string]string{
			xForwardedFor: "203.0.113.1",
			forwarded:     `for=203.0.113.1;host="a,b";proto=https`,
		} {
			r := requestFrom("10.0.0.1:9", [2]string{name, client}, [2]string{name, added})
			if oneLine {
				r = requestFrom("10.0.0.1:9", [2]string{name, client + ", " + added})
			}
			if got := sourceOf(r, trusted); got.String() != "203.0.113.1" || got.doubt != "" {
				t.Errorf("%s: the source is %q, doubt %q", name, got, got.doubt)
			}
			r.RemoteAddr = "198.51.100.1:9"
			if got := sourceOf(r, trusted); got.String() != "198.51.100.1" || got.doubt != "" {
				t.Errorf("%s, with no proxy: the source is %q", name, got)
			}
		}
	})
}

func TestTrustedProxiesAreRead(t *testing.T) {
	for text, says := range map[string]string{
		"10.0.0.0/8":          "",
		"10.0.0.1":            "",
		"::1":                 "",
		"::ffff:10.0.0.0/104": "",
		"":                    "no network",
		"proxy.internal":      "no network",
		"10.0.0.1/8":          "10.0.0.0/8",
		"0.0.0.0/0":           "everybody",
		"::/0":                "everybody",
		"::ffff:0.0.0.0/96":   "everybody",
		"10.0.0.0/8 ::1":      "no network",
	} {
		_, err := parseProxies([]string{"127.0.0.1", text})
		if says == "" && err == nil {
			continue
		}
		if err == nil || says == "" || !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "LANYARD_TRUSTED_PROXIES") {
			t.Errorf("%q: %v, want %q", text, err, says)
		}
	}
}

// TestWhatCountsBySource: everything that counts by source sees the one behind the
// proxy, and none that only the client names.
func TestWhatCountsBySource(t *testing.T) {
	f := start(t, func(c *Config) {
		c.TrustedProxies = []string{"127.0.0.1"}
		c.RatePerSecond, c.RateBurst = 1, 3
	})
	through := func(client string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(xForwardedFor, client) }
	}
	f.declareNetworks("office", "192.0.2.0/24", "127.0.0.0/8")
	ticket := f.createTicket(resource.TicketSpec{Networks: []string{"office"}})
	last := func(source, reason string) {
		t.Helper()
		if e := f.events()[0]; e.Source != source || !strings.HasPrefix(e.Reason, reason) {
			t.Errorf("activity %+v, want source %s, reason %s", e, source, reason)
		}
	}
	m := f.newMember()
	f.through = through("192.0.2.1, 198.51.100.1") // the client says where it would like to be
	m.register(ticket.Ticket).refused(t, 401)
	last("198.51.100.1", "networks: 198.51.100.1")
	f.through = through("192.0.2.1, nonsense")
	m.register(ticket.Ticket).refused(t, 401)
	last("127.0.0.1", "networks: the source address is not known") // though the proxy itself is in the list
	f.through = through("192.0.2.1")
	var enrolled registerResponse
	m.register(ticket.Ticket).decode(t, 200, &enrolled)
	last("192.0.2.1", "")
	m.id = enrolled.WorkloadID
	f.through = through("198.51.100.2")
	m.idToken(nil).refused(t, 403)
	last("198.51.100.2", "networks: 198.51.100.2")

	get := func(client string) int {
		f.through = through(client)
		return f.send("GET", jwksPath, "", nil).status
	}
	for i, want := range []int{200, 200, 200, 429} {
		if got := get("10.1.1.1, 203.0.113.9"); got != want {
			t.Errorf("request %d: %d, want %d", i, got, want)
		}
	}
	if got := get("203.0.113.9, 203.0.113.10"); got != 200 {
		t.Errorf("another source: %d", got)
	}
	if got := get("10.2.2.2, 203.0.113.9"); got != 429 {
		t.Errorf("the same source under another name: %d", got)
	}
}
