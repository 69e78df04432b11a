package injector

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

const toElsewhere = "GET / HTTP/1.1\r\nHost: elsewhere.internal\r\n"

// doubtful are requests that the strict parser refuses, with the code.
var doubtful = map[string]struct{ sent, code string }{
	"bare LF":           {"GET / HTTP/1.1\nHost: elsewhere.internal\n\n", "bare_lf"},
	"two equal lengths": {toElsewhere + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "two_lengths"},
	"many fields":       {toElsewhere + strings.Repeat("X: y\r\n", 300) + "\r\n", "field_count"},
	"a large head":      {toElsewhere + "X: " + strings.Repeat("y", 70<<10) + "\r\n\r\n", "head_size"},
	"a folded line":     {toElsewhere + "X: y\r\n z\r\n\r\n", "folded_line"},
	"gzip":              {toElsewhere + "Transfer-Encoding: gzip\r\n\r\n", "coding"},
	"two hosts":         {toElsewhere + "Host: ledger.internal\r\n\r\n", "two_hosts"},
	"no host":           {"GET / HTTP/1.1\r\n\r\n", "no_host"},
	"HTTP/1.2":          {"GET / HTTP/1.2\r\nHost: elsewhere.internal\r\n\r\n", "version"},
	"a bad chunk":       {toElsewhere + "Transfer-Encoding: chunked\r\n\r\n5 x\r\nhello\r\n0\r\n\r\n", "chunk_size"},
	"a cut head":        {toElsewhere + "X", "head_cut"},
}

// Where no token can be due nothing is refused: it goes on unread, from the first
// doubt on.
func TestNothingIsRefusedWhereNoTokenIsDue(t *testing.T) {
	notThere := func(w *world, _ *Config) { w.knows = func(*workload.Destination, netip.AddrPort) bool { return false } }
	for place, world := range map[string]func(*world, *Config){
		"another address": notThere, "observed": with(ledger(observe)), "not listed": with(ledger(foreign)),
	} {
		for name, c := range doubtful {
			for _, before := range []string{"", toElsewhere + "\r\n"} {
				t.Run(strings.Join([]string{place, name, before[:min(len(before), 3)]}, "/"), func(t *testing.T) {
					w := newWorld(t, world)
					client, upstream := w.pair()
					client.send(before)
					upstream.expect(before)
					if before != "" {
						upstream.send(ok)
						client.expect(ok)
						w.use(workload.NoDestination)
					}
					client.send(c.sent)
					if c.code == "head_cut" {
						client.closeWrite()
					}
					upstream.expect(c.sent)
					upstream.send("HTTP/1.1 200\nanything")
					client.expect("HTTP/1.1 200\nanything")
					if c.code != "head_cut" {
						client.send(get + "\r\n")
						upstream.expect(get + "\r\n")
					}
					client.close()
					upstream.expectEnd()
					upstream.close()
					outcome := workload.NotHTTP
					if c.code == "chunk_size" {
						outcome = workload.NoDestination
					}
					if u := w.use(outcome); u.Refusal != c.code || (u.Anonymous != "") != (place == "observed") {
						t.Errorf("record %+v", u)
					}
					eventually(t, "the connection ends", func() bool { return w.server.Open() == 0 })
					if n := len(w.uses); n != 0 {
						t.Errorf("%d further records", n)
					}
				})
			}
		}
	}
}

// Earlier responses are told apart before anything goes on unread.
func TestUnreadAfterPipelined(t *testing.T) {
	w := newWorld(t, with(ledger(observe)))
	client, upstream := w.pair()
	bad := doubtful["bare LF"].sent
	client.send(get + "\r\n" + get + "\r\n" + bad)
	upstream.expect(get + "\r\n" + get + "\r\n")
	upstream.send(ok)
	client.expect(ok)
	w.use(workload.Observed)
	upstream.send(ok)
	client.expect(ok)
	w.use(workload.Observed)
	upstream.expect(bad)
	upstream.send("bye")
	upstream.close()
	client.expect("bye")
	client.expectEnd()
	client.close()
	w.use(workload.NotHTTP)
}

// A body of which a part was sent goes on as well.
func TestBodyGoesOnUnread(t *testing.T) {
	w := newWorld(t, with(ledger(observe)))
	client, upstream := w.pair()
	head := get + "Transfer-Encoding: chunked\r\n\r\n"
	client.send(head + "2\r\nab\r\n")
	upstream.expect(head + "2\r\nab\r\n")
	client.send("zz\r\n" + get + "\r\n")
	upstream.expect("zz\r\n" + get + "\r\n")
	upstream.send(ok)
	client.expect(ok)
	upstream.close()
	client.expectEnd()
	client.close()
	if u := w.use(workload.Observed); u.Anonymous != workload.AnonymousObserved {
		t.Errorf("record %+v", u)
	}
}

// A response that comes before the body's end, or before that is doubtful, ends nothing
// where no token can be due.
func TestUnreadBodyOutlivesItsAnswer(t *testing.T) {
	const head, begun, doubt = get + "Transfer-Encoding: chunked\r\n\r\n", "2\r\nab\r\n", "zz\r\n" + get + "\r\n"
	for name, early := range map[string]bool{"answered before": true, "answered after": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, with(ledger(observe)))
			client, upstream := w.pair()
			client.send(head + begun)
			upstream.expect(head + begun)
			if early {
				upstream.send(ok)
				client.expect(ok)
			}
			client.send(doubt)
			upstream.expect(doubt)
			if !early {
				upstream.send(ok)
				client.expect(ok)
			}
			client.send("more")
			upstream.expect("more")
			upstream.send("and more")
			client.expect("and more")
			client.close()
			upstream.close()
			w.use(workload.Observed)
		})
	}
}

// A slow head is nobody's business either.
func TestSlowHeadGoesOnUnread(t *testing.T) {
	w := newWorld(t, shortLimits, with(ledger(observe)))
	client, upstream := w.pair()
	client.send(get)
	w.waitFor("the head has begun", inPhase(phaseHead))
	w.pass(w.server.limits().Head + 2*time.Second)
	upstream.expect(get)
	client.send("\r\n")
	upstream.expect("\r\n")
	if u := w.use(workload.NotHTTP); u.Refusal != "head_time" {
		t.Errorf("record %+v", u)
	}
}

// At the address of a destination, a doubtful request for another host goes on as it
// is, and is the last one of its connection.
func TestDoubtfulRequestForAnotherHost(t *testing.T) {
	for name, c := range map[string]struct{ sent, code string }{
		"bare LF":              doubtful["bare LF"],
		"one bare LF":          {"GET / HTTP/1.1\r\nHost: elsewhere.internal\nX: y\r\n\r\n", "bare_lf"},
		"two equal lengths":    doubtful["two equal lengths"],
		"many fields":          doubtful["many fields"],
		"space before a colon": {toElsewhere + "X : y\r\n\r\n", "field_name"},
		"a control byte":       {toElsewhere + "X: \x01\r\n\r\n", "field_value"},
	} {
		for kind, change := range map[string]func(*workload.Destination){"closed": func(*workload.Destination) {}, "open": open} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				w := newWorld(t, with(ledger(change)))
				client, upstream := w.pair()
				client.send(get + "\r\n")
				upstream.expect(get + bearer + "\r\n")
				upstream.send(ok)
				client.expect(ok)
				w.use(workload.Injected)
				client.send(c.sent + get + "\r\n")
				upstream.expect(c.sent)
				upstream.send(ok)
				client.expect(ok)
				client.expectEnd()
				upstream.expectEnd()
				if u := w.use(workload.NoDestination); u.Refusal != c.code || u.Anonymous != workload.AnonymousDoubtful || u.Nearby != "ledger" {
					t.Errorf("record %+v", u)
				}
			})
		}
	}
}

// Where a registered host is anywhere in it, or what is doubtful frames or routes, it
// is refused as ever.
func TestDoubtfulRequestThatMayBeForADestination(t *testing.T) {
	for name, c := range map[string]struct{ sent, code string }{
		"two hosts":              {"GET / HTTP/1.1\nHost: elsewhere.internal\nHost: other.internal\n\n", "bare_lf"},
		"the host in a field":    {"GET / HTTP/1.1\r\nHost: elsewhere.internal\r\nX: Ledger.Internal\nY: z\r\n\r\n", "bare_lf"},
		"the host in the target": {"GET /?ledger.internal HTTP/1.1\nHost: elsewhere.internal\n\n", "bare_lf"},
		"absolute":               {"GET http://elsewhere.internal/ HTTP/1.1\nHost: elsewhere.internal\n\n", "bare_lf"},
		"no host":                {"GET / HTTP/1.0\n\n", "bare_lf"},
		"a host with a space":    {toElsewhere + "Host : other\r\n\r\n", "field_name"},
		"a coding with a space":  {toElsewhere + "Transfer-Encoding : chunked\r\n\r\n", "field_name"},
		"a folded line":          doubtful["a folded line"],
		"two lengths":            {toElsewhere + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "two_lengths"},
		"length and coding":      {"POST / HTTP/1.1\nHost: elsewhere.internal\nContent-Length: 3\nTransfer-Encoding: chunked\n\n", "bare_lf"},
		"a hidden line":          {toElsewhere + "X: y\rHost: other\r\n\r\n", "field_value"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			client, upstream := w.pair()
			client.send(c.sent)
			client.expectProblem("400", workload.BadRequest)
			upstream.expectEnd()
			if u := w.use(workload.BadRequest); u.Refusal != c.code {
				t.Errorf("refused as %q, want %q", u.Refusal, c.code)
			}
		})
	}
}
