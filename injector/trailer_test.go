package injector

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// A server that takes a request for whole at its last chunk must not have that before
// the trailers are known to be harmless, however late they come.
func TestForbiddenTrailerThatComesLater(t *testing.T) {
	for last, rest := range map[string]string{
		"0": "\r\nHost: x\r\n\r\n", "0\r\n": "Host: x\r\n\r\n", "00;a\r\nX: y\r\n": "Cookie: x\r\n\r\n", "0\r\nHos": "t: x\r\n\r\n",
	} {
		w := newWorld(t)
		client, upstream := w.pair()
		client.send(chunkedUpload + "\r\n2\r\nab\r\n")
		upstream.expect(chunkedUpload + bearer + "\r\n2\r\nab\r\n")
		client.send(last)
		eventually(t, "it was read", func() bool { return w.unread() == 0 })
		client.send(rest)
		must(t, upstream.conn.SetReadDeadline(time.Now().Add(patience)))
		if got, err := io.ReadAll(upstream.conn); len(got) > 0 || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%q: the server received %q and %v, want a reset", last, got, err)
		}
		client.expectProblem("400", workload.BadRequest)
		w.use(workload.BadRequest)
	}
}
