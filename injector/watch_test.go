package injector

import (
	"errors"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// A refused request waits for the response to the one before it, but for no longer
// than a connection may be idle.
func TestRefusalOfAWaitingRequestEnds(t *testing.T) {
	for name, c := range map[string]struct {
		rest   string
		reason error
	}{
		"malformed": {"X : y\r\n", errFieldName},
		"late":      {"", errHeadTime},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, shortLimits)
			client, upstream := w.pair()
			client.send(get + "\r\n")
			upstream.expect(get + bearer + "\r\n")
			client.send(get)
			w.waitFor("the second head has begun", inPhase(phaseHead))
			client.send(c.rest)
			eventually(t, "all of it was read", func() bool { return w.unread() == 0 })
			w.passUntilEnded()
			client.expectReset()
			if u := w.use(workload.BadRequest); !errors.Is(u.Reason, c.reason) {
				t.Errorf("reason %v", u.Reason)
			}
			if u := w.use(workload.Injected); !errors.Is(u.Reason, errIdle) {
				t.Errorf("reason %v", u.Reason)
			}
		})
	}
}

// So does the head that begins after a response which cannot be framed.
func TestHeadAfterBrokenResponseEnds(t *testing.T) {
	w := newWorld(t, shortLimits)
	client, upstream := w.pair()
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
	upstream.send("nonsense\r\n")
	client.expect("nonsense\r\n")
	client.send(get)
	w.waitFor("the second head has begun", inPhase(phaseHead))
	w.passUntilEnded()
	client.expectReset()
}

// A word that could begin a request, and nothing after it, is relayed: whoever
// sent it may be waiting for the answer.
func TestUnfinishedFirstLineIsRelayed(t *testing.T) {
	w := newWorld(t, with(ledger(open)))
	client, upstream := w.pair()
	client.send("ruok")
	w.waitFor("it may yet be HTTP", inPhase(phaseOpening))
	w.pass(openingWait + sweepInterval)
	upstream.expect("ruok")
	upstream.send("imok")
	client.expect("imok")
	w.waitFor("it is at rest", atRest)
	client.close()
	upstream.expectEnd()
	upstream.close()
	w.use(workload.NotHTTP)
}
