//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// hasty is a server that declines to be asked for a body, and reads on as if the body
// would not come: the next byte is of another request. It keeps what is uploaded.
type hasty struct {
	mu       sync.Mutex
	declined int
	tokens   []string // of the uploads that it took
	uploads  [][]byte
}

func (h *hasty) serve(c net.Conn) {
	for in := bufio.NewReader(c); ; {
		q, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if q.Header.Get("Expect") != "" {
			h.mu.Lock()
			h.declined++
			h.mu.Unlock()
			_, _ = io.WriteString(c, "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
			continue // without its body
		}
		body, _ := io.ReadAll(q.Body)
		h.mu.Lock()
		h.tokens = append(h.tokens, q.Header.Get("Authorization"))
		h.uploads = append(h.uploads, body)
		h.mu.Unlock()
		_, _ = fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(marker), marker)
	}
}

// curl waits to be asked for a large body, is declined by 417, and repeats its request
// without waiting, as RFC 9110 §10.1.1 has it. The repeated request gets its token, and
// the server, which takes what follows 417 for a request, finds none in what it stores,
// though the file was prepared to be the beginning of one.
func TestCurlIsDeclinedByItsExpectation(t *testing.T) {
	w := newWorld(t)
	w.dns.Set(ledgerHost, ledgerV4)
	w.startAuthority()
	w.createTicket("ticket")
	w.startAgent(w.config(curlConfig))
	server := &hasty{}
	w.serveConns(w.listen(ledgerV4, port), server.serve)

	inner := "POST /file HTTP/1.1\r\nHost: " + ledgerHost + ":" + port + "\r\nContent-Length: 4000000\r\n\r\n"
	content := inner + strings.Repeat("x", 2<<20) // from 1 MiB on curl waits to be asked
	file := w.write("content", content)
	const times = 3
	for range times {
		output, err := w.curl("--max-time", "20", "--data-binary", "@"+file, ledgerURL, "--next", "--silent", "--max-time", "20", ledgerURL)
		if err != nil || strings.Count(output, marker) != 2 {
			t.Fatalf("curl was not let in twice: %v\n%s", err, output)
		}
	}
	w.wantOutcome("injected", 3*times)
	server.mu.Lock()
	defer server.mu.Unlock()
	if server.declined != times {
		t.Errorf("%d requests were declined, want %d", server.declined, times)
	}
	whole := 0
	for i, upload := range server.uploads {
		if bytes.Contains(upload, []byte("Bearer")) {
			t.Errorf("a token ended in what was uploaded, after %q", upload[:min(len(upload), 100)])
		}
		if string(upload) == content && strings.HasPrefix(server.tokens[i], "Bearer ") {
			whole++
		}
	}
	if whole != times {
		t.Errorf("%d whole files were uploaded with a token, want %d", whole, times)
	}
}
