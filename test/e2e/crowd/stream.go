package main

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

// streamPath is how the path of a response ends that does not end.
const streamPath = "/stream"

// hold asks for a response that does not end, says when it has begun, and how it ended:
// by us, when we are told to stop, or by the other side.
func (c *client) hold() error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	conn, err := net.DialTimeout("tcp", c.address, patience)
	if err != nil {
		return err
	}
	path := "/" + c.group + streamPath
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, c.host); err != nil {
		return err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	defer func() {
		_ = conn.Close() // or the rest of the body would be waited for
		_ = response.Body.Close()
	}()
	body := bufio.NewReader(response.Body)
	line, err := body.ReadString('\n')
	if want := answer(path, c.token) + "\n"; err != nil || line != want {
		return fmt.Errorf("%w: %q (%v), want %q", errWrong, line, err, want)
	}
	fmt.Println("streaming")
	ended := make(chan error, 1)
	go func() { _, err := body.ReadByte(); ended <- err }()
	select {
	case <-stop:
		fmt.Println("held to the end")
	case err := <-ended:
		fmt.Println("ended by the other side:", err)
	}
	return nil
}
