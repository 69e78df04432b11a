package forgery

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"
)

// askLimit bounds one question.
const askLimit = 30 * time.Second

// Ask sends a request with the token as it is, whatever bytes it has, and returns
// the answer's status, or 0 where the server hung up.
func Ask(t testing.TB, address, path, token string) int {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, askLimit)
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(askLimit)))
	// A server may answer and hang up before it has read everything.
	_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", path, address, token)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}
