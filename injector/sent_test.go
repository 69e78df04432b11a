package injector

import (
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// When a request was ready to be sent on is noted of those that were, and of no other.
func TestWhenARequestWasSentOn(t *testing.T) {
	w := newWorld(t)
	client, upstream := w.pair()
	client.send(get + "\r\n")
	upstream.expect(get + bearer + "\r\n")
	upstream.send(noLength)
	u := w.use(workload.Injected)
	if u.Sent.Before(u.Start) || u.Sent.After(u.End) {
		t.Errorf("read at %v, sent on at %v, answered at %v", u.Start, u.Sent, u.End)
	}
	w = newWorld(t, noToken)
	client = w.client()
	client.send(get + "\r\n")
	if u := w.use(workload.TokenUnavailable); !u.Sent.IsZero() {
		t.Errorf("a request that was answered here was sent on at %v", u.Sent)
	}
}
