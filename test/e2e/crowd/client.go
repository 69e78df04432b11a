package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// patience is how long a connection may take; then it hangs.
const patience = 30 * time.Second

// client makes connections, several at once.
type client struct {
	address, host, group           string
	token                          bool
	connections, requests, workers int

	begun atomic.Int64
	over  atomic.Bool

	mu     sync.Mutex
	result result
}

// result is what became of the connections.
type result struct {
	Opened   int    `json:"opened"`
	Answered int    `json:"answered"` // requests, as they have to be
	Refused  int    `json:"refused"`  // connections that were not made
	Broken   int    `json:"broken"`   // connections that ended or were reset within a request
	Hung     int    `json:"hung"`
	Wrong    int    `json:"wrong"` // answers to something else, or without the token, or with one
	First    string `json:"first"` // what went wrong first
}

// run makes the connections, or makes some until it is told to stop.
func (c *client) run() result {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		c.over.Store(true)
	}()
	var workers sync.WaitGroup
	for range c.workers {
		workers.Go(c.work)
	}
	workers.Wait()
	return c.result
}

func (c *client) work() {
	for !c.over.Load() {
		n := c.begun.Add(1)
		if c.connections > 0 && n > int64(c.connections) {
			return
		}
		opened, answered, err := c.converse(n)
		c.count(opened, answered, err)
	}
}

var errWrong = errors.New("wrong answer")

func (c *client) count(opened bool, answered int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if opened {
		c.result.Opened++
	}
	c.result.Answered += answered
	if err == nil {
		return
	}
	if c.result.First == "" {
		c.result.First = err.Error()
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.result.Hung++
	case errors.Is(err, errWrong):
		c.result.Wrong++
	case !opened:
		c.result.Refused++
	default:
		c.result.Broken++
	}
}

// converse makes one connection and the requests on it. It ends by itself, by a
// reset, or by the server: each third.
func (c *client) converse(n int64) (opened bool, answered int, err error) {
	conn, err := net.DialTimeout("tcp", c.address, patience)
	if err != nil {
		return false, 0, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return true, 0, err
	}
	in := bufio.NewReader(conn)
	for i := range c.requests {
		last := i == c.requests-1
		if err := c.ask(conn, in, fmt.Sprintf("/%s/%d/%d", c.group, n, i), last && n%3 == 2); err != nil {
			return true, answered, err
		}
		answered++
	}
	switch n % 3 {
	case 1:
		err = conn.(*net.TCPConn).SetLinger(0)
	case 2:
		_, err = in.ReadByte()
		if err == io.EOF {
			err = nil
		}
	}
	return true, answered, err
}

// ask makes one request and wants its own answer.
func (c *client) ask(conn net.Conn, in *bufio.Reader, path string, last bool) error {
	end := ""
	if last {
		end = "Connection: close\r\n"
	}
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", path, c.host, end); err != nil {
		return err
	}
	response, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if want := answer(path, c.token); response.StatusCode != http.StatusOK || string(body) != want {
		return fmt.Errorf("%w: status %d with %q, want %q", errWrong, response.StatusCode, body, want)
	}
	return nil
}
