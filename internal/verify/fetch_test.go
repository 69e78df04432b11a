package verify

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/serverurl"
)

// answering is the URL of a server that answers each request with the text as it is.
func answering(t *testing.T, text string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, text) // a client that has read enough hangs up
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-ended
	})
	return "http://" + listener.Addr().String() + "/keys"
}

// Whoever answers in the issuer's place fills neither memory nor log.
func TestAnswersThatAreNoKeySet(t *testing.T) {
	const megabytes = 4 << 20
	client, err := NewClient("")
	if err != nil {
		t.Fatal(err)
	}
	for name, answer := range map[string]string{
		"a status of megabytes":  "HTTP/1.1 " + strings.Repeat("x", megabytes) + "\r\n\r\n",
		"a version in colour":    "\x1b[31mSMTP\n\r\n",
		"a name of megabytes":    "HTTP/1.1 200 OK\r\n" + strings.Repeat("n", megabytes) + "\r\n\r\n",
		"a head of megabytes":    "HTTP/1.1 200 OK\r\n" + strings.Repeat("a: b\r\n", megabytes/6) + "Content-Length: 11\r\n\r\n{\"keys\":[]}",
		"a head of 64 KiB":       "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("a", 64<<10) + "\r\nContent-Length: 11\r\n\r\n{\"keys\":[]}",
		"a length of kilobytes":  "HTTP/1.1 200 OK\r\nContent-Length: " + strings.Repeat("9", 20<<10) + "\r\n\r\n",
		"a coding of kilobytes":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + strings.Repeat("x", 20<<10) + "\r\n\r\n",
		"a version of kilobytes": "HTTP/" + strings.Repeat("9", 20<<10) + " 200 OK\r\n\r\n",
		"a chunk in colour":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\x1b[31m\r\n",
		"a place of kilobytes":   "HTTP/1.1 200 OK\r\nLocation: :" + strings.Repeat("\x01", 20<<10) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newFetcher(answering(t, answer), client).fetch(t.Context())
			if err == nil {
				t.Fatal("taken for a key set")
			}
			if len(err.Error()) > serverurl.MaxWords || strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("an error of %d bytes: %.400q", len(err.Error()), err)
			}
		})
	}
}

// What the chain of an error says is kept where its text is fit.
func TestErrorsKeepTheirChain(t *testing.T) {
	if err := inOurWords(io.ErrUnexpectedEOF); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}
