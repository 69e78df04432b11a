package serverurltest

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"time"
)

// errHeld says that a client went on waiting.
var errHeld = errors.New("the client did not let go of a connection whose protocol had changed")

// ChangeProtocol answers a request with 101 (Switching Protocols), which it did not ask
// for, and then says nothing. It returns when the client lets go of the connection, or
// with an error once the limit has passed, when the connection is closed so that a client
// that waits goes on.
func ChangeProtocol(w http.ResponseWriter, limit time.Duration) error {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // what was to be seen was seen
	if _, err := io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: something\r\n\r\n"); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return err
	}
	if _, err := bufio.NewReader(conn).ReadByte(); err != io.EOF {
		return errors.Join(errHeld, err)
	}
	return nil
}
