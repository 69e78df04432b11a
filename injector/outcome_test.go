package injector

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/workload"
)

var (
	errAuthorityDown = errors.New("authority is away")
	tie              = &workload.AmbiguousError{Image: image, Identities: []string{"billing", "reports"}}
)

func tied(d *workload.Destination) func(*world, *Config) {
	return func(w *world, _ *Config) { w.setPolicy(&policy{err: tie, destinations: []*workload.Destination{d}}) }
}

func both(changes ...func(*world, *Config)) func(*world, *Config) {
	return func(w *world, c *Config) {
		for _, change := range changes {
			change(w, c)
		}
	}
}

func noToken(w *world, _ *Config) {
	w.getToken = func(context.Context, token.Request) (token.Token, error) { return token.Token{}, errAuthorityDown }
}

func emptyToken(w *world, _ *Config) {
	w.getToken = func(context.Context, token.Request) (token.Token, error) { return token.Token{}, nil }
}

func unverified(w *world, _ *Config) {
	w.verify = func(string, netip.AddrPort) error { return errors.New("no answer for the name has this address") }
}

func imageGone(w *world, _ *Config) { w.gone.Store(true) }

func open(d *workload.Destination)    { d.OnFailure = workload.FailOpen }
func observe(d *workload.Destination) { d.Enforce = false }
func keep(d *workload.Destination)    { d.ExistingAuthorization = workload.KeepAuthorization }
func refuse(d *workload.Destination)  { d.ExistingAuthorization = workload.RefuseAuthorization }
func foreign(d *workload.Destination) { d.Identities = []string{"somebody-else"} }
func onlyPosts(d *workload.Destination) {
	d.Methods, d.Paths = []string{"POST"}, []string{"/api/", "/exact"}
}

const own = "Authorization: Basic bWU6bWU=\r\n"

// Every outcome that a request can have, and what the destination receives.
func TestOutcomes(t *testing.T) {
	const host = "Host: ledger.internal\r\n"
	for _, c := range []struct {
		name    string
		world   func(*world, *Config)
		request string
		token   bool // forwarded with the token, else unchanged
		outcome workload.Outcome
		reason  error
	}{
		{"injected", nil, "GET / HTTP/1.1\r\n" + host, true, workload.Injected, nil},
		{"absolute form", nil, "GET http://LEDGER.internal:80/ HTTP/1.1\r\n" + host, true, workload.Injected, nil},
		{"observed", with(ledger(observe)), "GET / HTTP/1.1\r\n" + host, false, workload.Observed, nil},
		{"observed does not refuse", with(ledger(observe, refuse)), "GET / HTTP/1.1\r\n" + own + host, false, workload.Observed, nil},
		{"observed without a token", both(with(ledger(observe)), noToken), "GET / HTTP/1.1\r\n" + host, false, workload.Observed, nil},
		{"observed tie", tied(ledger(observe)), "GET / HTTP/1.1\r\n" + host, false, workload.Observed, nil},
		{"observed and unverified", both(with(ledger(observe)), unverified), "GET / HTTP/1.1\r\n" + host, false, workload.Observed, nil},
		{"not listed", with(ledger(foreign)), "GET / HTTP/1.1\r\n" + host, false, workload.NoIdentity, nil},
		{"image gone, may pass", both(with(ledger(open)), imageGone), "GET / HTTP/1.1\r\n" + host, false, workload.TokenUnavailable, errImageGone},
		{"image gone, observed", both(with(ledger(observe)), imageGone), "GET / HTTP/1.1\r\n" + host, false, workload.NoIdentity, errImageGone},
		{"image gone, not listed", both(with(ledger(foreign)), imageGone), "GET / HTTP/1.1\r\n" + host, false, workload.NoIdentity, nil},
		{"image gone, outside the rule", both(with(ledger(onlyPosts)), imageGone), "GET / HTTP/1.1\r\n" + host, false, workload.Untouched, nil},
		{"no destination", nil, "GET / HTTP/1.1\r\nHost: elsewhere.internal\r\n", false, workload.NoDestination, nil},
		{"no host", nil, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n", false, workload.NoDestination, nil},
		{"empty host", nil, "GET / HTTP/1.1\r\nHost:\r\n", false, workload.NoDestination, nil},
		{"tie at no destination", tied(ledger()), "GET / HTTP/1.1\r\nHost: elsewhere.internal\r\n", false, workload.NoDestination, nil},
		{"tie that is not listed", tied(ledger(foreign)), "GET / HTTP/1.1\r\n" + host, false, workload.NoIdentity, nil},
		{"tie of an image that is gone", both(tied(ledger(open)), imageGone), "GET / HTTP/1.1\r\n" + host, false, workload.TokenUnavailable, errImageGone},
		{"TRACE", nil, "TRACE / HTTP/1.1\r\n" + host, false, workload.Untouched, nil},
		{"TRACE in another case", nil, "Trace / HTTP/1.1\r\n" + host, false, workload.Untouched, nil},
		{"TRACK", nil, "TRACK / HTTP/1.1\r\n" + host, false, workload.Untouched, nil},
		{"foreign scheme", nil, "GET https://ledger.internal:80/ HTTP/1.1\r\nHost: ledger.internal\r\n", false, workload.Untouched, nil},
		{"method outside the rule", with(ledger(onlyPosts)), "GET /api/x HTTP/1.1\r\n" + host, false, workload.Untouched, nil},
		{"path outside the rule", with(ledger(onlyPosts)), "POST /apis HTTP/1.1\r\n" + host, false, workload.Untouched, nil},
		{"path that leaves the rule", with(ledger(onlyPosts)), "POST /api/%2e./x HTTP/1.1\r\n" + host, false, workload.Untouched, nil},
		{"path in the rule", with(ledger(onlyPosts)), "POST /api/x?y HTTP/1.1\r\n" + host, true, workload.Injected, nil},
		{"a fragment in the rule", with(ledger(onlyPosts)), "POST /api/x#y HTTP/1.1\r\n" + host, false, workload.Untouched, nil},
		{"exact path in the rule", with(ledger(onlyPosts)), "POST http://ledger.internal/exact?x HTTP/1.1\r\n" + host, true, workload.Injected, nil},
		{"keep", with(ledger(keep)), "GET / HTTP/1.1\r\n" + host + own, false, workload.Untouched, nil},
		{"keep without its own", with(ledger(keep)), "GET / HTTP/1.1\r\n" + host, true, workload.Injected, nil},
		{"refuse without its own", with(ledger(refuse)), "GET / HTTP/1.1\r\n" + host, true, workload.Injected, nil},
		{"unverified", unverified, "GET / HTTP/1.1\r\n" + host, false, workload.DestinationUnverified, nil},
		{"unverified and refuse", both(with(ledger(refuse)), unverified), "GET / HTTP/1.1\r\n" + host + own, false, workload.DestinationUnverified, nil},
		{"unverified tie", both(tied(ledger()), unverified), "GET / HTTP/1.1\r\n" + host, false, workload.DestinationUnverified, nil},
		{"unverified without a token", both(unverified, noToken), "GET / HTTP/1.1\r\n" + host, false, workload.DestinationUnverified, nil},
		{"another port", nil, "GET / HTTP/1.1\r\nHost: ledger.internal:8080\r\n", false, workload.DestinationUnverified, errPort},
		{"tie that may pass", tied(ledger(open)), "GET / HTTP/1.1\r\n" + host, false, workload.IdentityAmbiguous, tie},
		{"no token but may pass", both(with(ledger(open)), noToken), "GET / HTTP/1.1\r\n" + host, false, workload.TokenUnavailable, errAuthorityDown},
		{"empty token but may pass", both(with(ledger(open)), emptyToken), "GET / HTTP/1.1\r\n" + host, false, workload.TokenUnavailable, errNoToken},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.world == nil {
				c.world = func(*world, *Config) {}
			}
			w := newWorld(t, c.world)
			client, upstream := w.pair()
			for range 2 { // whatever happened, the connection goes on
				client.send(c.request + "\r\n")
				want := c.request + "\r\n"
				if c.token {
					want = c.request + bearer + "\r\n"
				}
				upstream.expect(want)
				upstream.send(ok)
				client.expect(ok)
				u := w.use(c.outcome)
				if c.reason != nil && !errors.Is(u.Reason, c.reason) {
					t.Errorf("reason %v, want %v", u.Reason, c.reason)
				}
				if c.token != (u.TokenID != "") || u.Status != 200 {
					t.Errorf("record %+v", u)
				}
			}
		})
	}
}

// Requests that are answered here: the destination never sees them.
func TestLocalAnswers(t *testing.T) {
	for _, c := range []struct {
		name    string
		world   func(*world, *Config)
		request string
		status  string
		outcome workload.Outcome
		detail  string
	}{
		{"tie", tied(ledger()), get + "\r\n", "503", workload.IdentityAmbiguous, "billing and reports"},
		{"no token", noToken, get + "\r\n", "503", workload.TokenUnavailable, "https://ledger.internal"},
		{"no token, large body", noToken, "POST / HTTP/1.1\r\nHost: ledger.internal\r\nContent-Length: 60000\r\n\r\n" + strings.Repeat("x", 60000), "503", workload.TokenUnavailable, "billing"},
		{"image gone", imageGone, get + "\r\n", "503", workload.TokenUnavailable, "has exited"},
		{"tie of an image that is gone", both(tied(ledger()), imageGone), get + "\r\n", "503", workload.TokenUnavailable, "has exited"},
		{"refuse", with(ledger(refuse)), get + own + "\r\n", "403", workload.Refused, "existing_authorization"},
		{"bad", nil, get + "X : y\r\n\r\n", "400", workload.BadRequest, "RFC 9112"},
		{"unknown coding", nil, get + "Transfer-Encoding: gzip, chunked\r\n\r\n", "501", workload.BadRequest, "Transfer-Encoding"},
		{"version", nil, "GET / HTTP/1.2\r\nHost: ledger.internal\r\n\r\n", "505", workload.BadRequest, "version"},
		{"bad chunk at once", nil, get + "Transfer-Encoding: chunked\r\n\r\n5 \r\n", "400", workload.BadRequest, "chunk"},
		{"cut head", nil, get + "X: y", "400", workload.BadRequest, "within a head"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.world == nil {
				c.world = func(*world, *Config) {}
			}
			w := newWorld(t, c.world)
			client, upstream := w.pair()
			client.send(c.request)
			client.closeWrite()
			got := client.expectProblem(c.status, c.outcome)
			if !strings.Contains(got, c.detail) {
				t.Errorf("%q does not mention %q", got, c.detail)
			}
			upstream.expectEnd()
			if u := w.use(c.outcome); u.Reason == nil || u.Status == 0 || u.TokenID != "" {
				t.Errorf("record %+v", u)
			}
		})
	}
}

// An answer of our own waits for the responses to the requests before it.
func TestLocalAnswerKeepsItsPlace(t *testing.T) {
	w := newWorld(t, with(ledger(refuse)))
	client, upstream := w.pair()
	client.send(get + "\r\n" + get + "\r\n" + get + own + "\r\n" + get + "\r\n")
	upstream.expect(get + bearer + "\r\n" + get + bearer + "\r\n")
	upstream.send(ok)
	client.expect(ok)
	upstream.send(ok)
	client.expect(ok)
	client.expectProblem("403", workload.Refused)
	upstream.expectEnd()
	w.use(workload.Injected)
	w.use(workload.Injected)
	w.use(workload.Refused)
}

// A client that ends within a head has an answer due, whether or not the server
// ends with its earlier response.
func TestLocalAnswerOutlastsTheUpstream(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		client, upstream := w.pair()
		client.send(get + "\r\n" + get)
		client.closeWrite()
		upstream.expect(get + bearer + "\r\n")
		upstream.expectEnd() // only then does it answer
		upstream.send(ok)
		upstream.close()
		client.expect(ok)
		client.expectProblem("400", workload.BadRequest)
		client.close()
		w.use(workload.Injected)
		w.use(workload.BadRequest)
	}
}

func TestLocalAnswerToHead(t *testing.T) {
	w := newWorld(t, noToken)
	client, _ := w.pair()
	client.send("HEAD / HTTP/1.1\r\nHost: ledger.internal\r\n\r\n")
	if got := client.rest(); !strings.HasPrefix(got, "HTTP/1.1 503 ") || !strings.HasSuffix(got, "\r\n\r\n") {
		t.Errorf("received %q", got)
	}
}

// A body that turns out to be malformed later: the server gets an incomplete
// message and a reset, the client an answer if there was none.
func TestBadBody(t *testing.T) {
	const head = "POST / HTTP/1.1\r\nHost: ledger.internal\r\nTransfer-Encoding: chunked\r\n"
	for name, tail := range map[string]string{
		"size":     "xyz\r\n",
		"trailer":  "0\r\nAuthorization: Bearer smuggled\r\n\r\n",
		"framing":  "0\r\ncontent-length: 5\r\n\r\n",
		"bare LF":  "5\nhello",
		"overrun":  "1\r\nab\r\n",
		"overflow": "10000000000000000\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			client, upstream := w.pair()
			client.send(head + "\r\n2\r\nab\r\n")
			upstream.expect(head + bearer + "\r\n2\r\nab\r\n")
			client.send(tail)
			client.expectProblem("400", workload.BadRequest)
			upstream.expectReset()
			w.use(workload.BadRequest)
		})
	}
	t.Run("after the response began", func(t *testing.T) {
		w := newWorld(t)
		client, upstream := w.pair()
		client.send(head + "\r\n2\r\nab\r\n")
		upstream.expect(head + bearer + "\r\n2\r\nab\r\n")
		upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
		client.expect("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
		client.send("zzz")
		client.expectReset()
		upstream.expectReset()
		w.use(workload.Injected)
	})
}

// After the process image changed, its open connection gets no further token.
func TestExecutedProcessGetsNoFurtherToken(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
	upstream.send(ok)
	client.expect(ok)
	w.use(workload.Injected)
	w.gone.Store(true)
	client.send(get + "\r\n")
	client.expectProblem("503", workload.TokenUnavailable)
	upstream.expectEnd()
	w.use(workload.TokenUnavailable)
}

// The image may change while a token is being obtained.
func TestImageGoneWhileWaitingForToken(t *testing.T) {
	w := newWorld(t, func(w *world, _ *Config) {
		get := w.getToken
		w.getToken = func(ctx context.Context, r token.Request) (token.Token, error) {
			w.gone.Store(true)
			return get(ctx, r)
		}
	})
	client, upstream := w.pair()
	client.send(get + "\r\n")
	client.expectProblem("503", workload.TokenUnavailable)
	upstream.expectEnd()
	if u := w.use(workload.TokenUnavailable); u.TokenID != "" || u.Audience != "" {
		t.Errorf("record %+v", u)
	}
}

func TestTokenRequest(t *testing.T) {
	asked := make(chan token.Request, 1)
	w := newWorld(t, func(w *world, _ *Config) {
		get := w.getToken
		w.getToken = func(ctx context.Context, r token.Request) (token.Token, error) {
			asked <- r
			return get(ctx, r)
		}
	})
	client, upstream := w.pair()
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
	if r := <-asked; r != (token.Request{Identity: "billing", Audience: "https://ledger.internal"}) {
		t.Errorf("asked for %+v", r)
	}
}

// A reload takes effect on open connections, and fails no request.
func TestPolicySwapUnderLoad(t *testing.T) {
	w := newWorld(t)
	reload, swapped := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(swapped)
		for i := 0; ; i++ {
			if _, more := <-reload; !more {
				return
			}
			d := ledger()
			if i%2 == 1 {
				d = ledger(foreign)
			}
			w.setPolicy(&policy{identity: billing, destinations: []*workload.Destination{d}})
		}
	}()
	client, upstream := w.pair()
	var injected, plain atomic.Int32
	for range 2000 {
		select {
		case reload <- struct{}{}: // while the request is on its way
		default:
		}
		client.send(get + "\r\n")
		upstream.expect(get)
		next := make([]byte, 2)
		must(t, readFull(upstream, next))
		if string(next) == "\r\n" {
			plain.Add(1)
		} else {
			injected.Add(1)
			upstream.expect((bearer + "\r\n")[2:])
		}
		upstream.send(ok)
		client.expect(ok)
	}
	close(reload)
	<-swapped
	if injected.Load() == 0 || plain.Load() == 0 {
		t.Errorf("%d requests with a token, %d without: the policy was not looked at", injected.Load(), plain.Load())
	}
}
