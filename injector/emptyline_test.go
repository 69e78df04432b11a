package injector

import (
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// An empty line between requests that comes in two pieces is no head: it makes the
// connection neither immortal nor late.
func TestEmptyLineInPieces(t *testing.T) {
	begin := func(t *testing.T) (w *world, client, upstream *peer) {
		w = newWorld(t, shortLimits)
		client, upstream = w.pair()
		client.send(get + "\r\n")
		upstream.expect(get + bearer + "\r\n")
		upstream.send(ok)
		client.expect(ok)
		w.use(workload.Injected)
		client.send("\r")
		w.waitFor("it may be a head", inPhase(phaseHead))
		client.send("\n")
		eventually(t, "it was read", func() bool { return w.unread() == 0 })
		return w, client, upstream
	}
	t.Run("idle", func(t *testing.T) {
		w, client, upstream := begin(t)
		w.passUntilEnded()
		client.expectEnd()
		upstream.expectEnd()
	})
	t.Run("followed by a request", func(t *testing.T) {
		w, client, upstream := begin(t)
		w.waitFor("it was none", inPhase(phaseReading))
		w.pass(w.server.limits().Head + 2*time.Second)
		client.send(get)
		w.waitFor("a head has begun", inPhase(phaseHead))
		w.pass(w.server.limits().Head / 2)
		client.send("\r\n")
		upstream.expect(get + bearer + "\r\n")
		upstream.send(ok)
		client.expect(ok)
		w.use(workload.Injected)
	})
}
