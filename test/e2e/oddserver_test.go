//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// oddAnswers are answers of servers that curl takes, by path. About the end of some of
// them other clients think otherwise.
var oddAnswers = map[string]string{
	"/equal":    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nodd",
	"/list":     "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\nodd",
	"/lines":    "HTTP/1.1 200 OK\nContent-Length: 3\n\nodd",
	"/padded":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nodd\r\n0 \r\n\r\n",
	"/folded":   "HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 3\r\n\r\nodd",
	"/spaced":   "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 3\r\n\r\nodd",
	"/both":     "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nodd\r\n0\r\n\r\n",
	"/old":      "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nodd\r\n0\r\n\r\n",
	"/trailing": "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nodd\r\n",
	"/large":    "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 100) + "Content-Length: 3\r\n\r\nodd",
}

// Whatever a server answers that curl takes, curl's next request is answered too, each
// with its token, on that connection or on another one.
func TestRequestAfterAnOddAnswer(t *testing.T) {
	w := newWorld(t)
	w.dns.Set(ledgerHost, ledgerV4)
	w.startAuthority()
	w.createTicket("ticket")
	w.startAgent(w.config(curlConfig))
	var anonymous atomic.Int32
	w.serveConns(w.listen(ledgerV4, port), func(c net.Conn) {
		for in := bufio.NewReader(c); ; {
			q, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			if !strings.HasPrefix(q.Header.Get("Authorization"), "Bearer ") {
				anonymous.Add(1)
			}
			answer := oddAnswers[q.URL.Path]
			if answer == "" {
				answer = fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(marker), marker)
			}
			_, _ = io.WriteString(c, answer)
		}
	})
	for path := range oddAnswers {
		output, err := w.curl("--max-time", "10", ledgerURL+path, "--next", "--silent", "--max-time", "10", ledgerURL)
		if err != nil || strings.TrimSpace(output) != "odd"+marker {
			t.Errorf("%s: curl got %q and %v, want both answers", path, output, err)
		}
	}
	w.wantOutcome("injected", uint64(2*len(oddAnswers)))
	if n := anonymous.Load(); n > 0 {
		t.Errorf("%d requests had no token", n)
	}
}

// serveConns serves the connections of a listener until the test ends.
func (w *world) serveConns(listener net.Listener, serve func(net.Conn)) {
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return // the test has ended
			}
			all.Go(func() {
				defer func() { _ = c.Close() }()
				_ = c.SetDeadline(time.Now().Add(waitLimit))
				serve(c)
			})
		}
	})
	w.t.Cleanup(func() {
		_ = listener.Close()
		all.Wait()
	})
}
