package injector

import (
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// Other limits hold for the next head of an open connection, and the answer says the
// number that was in force.
func TestLimitsInForce(t *testing.T) {
	large := func(n int) string { return get + "X: " + strings.Repeat("y", n) + "\r\n" }
	many := func(n int) string { return get + strings.Repeat("X: y\r\n", n) }
	w := newWorld(t)
	client, upstream := w.pair()
	pass := func(head string) {
		t.Helper()
		client.send(head + "\r\n")
		got := make([]byte, len(head+bearer+"\r\n"))
		if err := readFull(upstream, got); err != nil || string(got) != head+bearer+"\r\n" {
			t.Fatalf("%d bytes did not arrive: %v", len(head), err)
		}
		upstream.send(ok)
		client.expect(ok)
		w.use(workload.Injected)
	}
	pass(get)
	w.server.SetLimits(Limits{HeadBytes: 300 << 10, HeadFields: 2000})
	pass(large(250 << 10))
	pass(many(1900))
	w.server.SetLimits(Limits{HeadBytes: 20 << 10, HeadFields: 100})
	pass(large(18 << 10))
	pass(many(90))
	client.send(many(101) + "\r\n")
	if got := client.expectProblem("431", workload.BadRequest); !strings.Contains(got, "limits.head_fields, which is 100 here") {
		t.Errorf("answered %q", got)
	}
	for size, first := range map[string]string{"20480 bytes": large(21 << 10), "307200 bytes": large(310 << 10)} {
		bytes := 20 << 10
		if size == "307200 bytes" {
			bytes = 300 << 10
		}
		w.server.SetLimits(Limits{HeadBytes: bytes})
		client, _ = w.pair()
		client.send(first + "\r\n")
		if got := client.expectProblem("431", workload.BadRequest); !strings.Contains(got, "limits.head_bytes, which is "+size) {
			t.Errorf("answered %q", got)
		}
	}
	if n := w.server.limits().Connections; n != DefaultConnections {
		t.Errorf("%d connections", n)
	}
}

func TestHeadTimeIsTold(t *testing.T) {
	w := newWorld(t, shortLimits)
	w.server.SetLimits(Limits{Head: 7 * time.Second})
	client, _ := w.pair()
	client.send(get)
	w.waitFor("the head has begun", inPhase(phaseHead))
	w.pass(9 * time.Second)
	if got := client.expectProblem("408", workload.BadRequest); !strings.Contains(got, "limits.head_time, which is 7s") {
		t.Errorf("answered %q", got)
	}
}

// A first line that fills the largest buffer there may be is too large as well.
func TestFirstLineBeyondTheLimit(t *testing.T) {
	for _, bytes := range []int{16 << 10, 100 << 10} {
		w := newWorld(t, func(_ *world, c *Config) { c.Limits.HeadBytes = bytes })
		client, upstream := w.pair()
		client.send("GET /" + strings.Repeat("x", bytes))
		client.expectProblem("431", workload.BadRequest)
		upstream.expectEnd()
		w.use(workload.BadRequest)
	}
}

// Trailers are held until they are known to be harmless, whatever a head may hold.
func TestTrailersBeyondTheHeadLimit(t *testing.T) {
	w := newWorld(t, func(_ *world, c *Config) { c.Limits.HeadBytes = smallBuffer })
	client, upstream := w.pair()
	head := "PUT / HTTP/1.1\r\nHost: ledger.internal\r\nTransfer-Encoding: chunked\r\n"
	body := "1;" + strings.Repeat("x", 500) + "\r\na\r\n0;" + strings.Repeat("y", 900) + "\r\n" + strings.Repeat("X: "+strings.Repeat("z", 1000)+"\r\n", 16) + "\r\n"
	client.send(head + "\r\n")
	upstream.expect(head + bearer + "\r\n")
	client.send(body)
	upstream.expect(body)
	upstream.send(ok)
	client.expect(ok)
	w.use(workload.Injected)
}
