package injector

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// A destination that has closed resets what still comes. The client hears of it without
// another byte, as it would on a connection of its own.
func TestResetAfterTheLastByte(t *testing.T) {
	for name, turns := range map[string][]turn{
		"after a conversation": {says(false, "\x16hello"), says(true, "welcome")},
		"before any byte":      nil,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, with(ledger(open)))
			client, upstream := w.pair()
			w.converse(client, upstream, turns, 1000)
			upstream.close()
			client.expectEnd()
			client.send("\x16more")
			eventually(t, "the client's connection is reset", func() bool { return w.server.Open() == 0 })
			must(t, client.conn.SetWriteDeadline(time.Now().Add(patience)))
			if _, err := client.conn.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
				t.Errorf("the client's next write: %v, want %v", err, syscall.EPIPE)
			}
			w.use(workload.NotHTTP)
		})
	}
}

// A destination that has only ended its own direction takes what the client sends.
func TestClientGoesOnAfterTheLastByte(t *testing.T) {
	w := newWorld(t, with(ledger(open)))
	client, upstream := w.pair()
	client.send("\x16hello")
	upstream.expect("\x16hello")
	upstream.closeWrite()
	client.expectEnd()
	client.send("more")
	upstream.expect("more")
	client.closeWrite()
	upstream.expectEnd()
	eventually(t, "the connection is gone", func() bool { return w.server.Open() == 0 })
	w.use(workload.NotHTTP)
}
