package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// pacedBacklog bounds the requests that wait for the connection that is kept.
const pacedBacklog = 10_000

// runPaced makes one request after each interval, whether the former are answered or
// not, until it is told to stop: on a new connection, and on one that is kept, in
// turn. Of each it prints its number, how many microseconds after its time it was
// answered, and what went wrong.
func (c *client) runPaced(interval time.Duration) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	ticks := time.NewTicker(interval / 4) // which drops what comes too late; the count below does not
	defer ticks.Stop()
	var asking sync.WaitGroup
	defer asking.Wait()
	kept := make(chan paced, pacedBacklog)
	defer close(kept)
	asking.Go(func() { c.askOnOne(kept) })
	start := time.Now()
	for n := 0; ; {
		select {
		case <-stop:
			return nil
		case <-ticks.C:
		}
		for ; time.Since(start) >= time.Duration(n)*interval; n++ {
			p := paced{number: n, due: start.Add(time.Duration(n) * interval)}
			if n%2 == 0 {
				asking.Go(func() { c.report(p, c.askOnNew(p)) })
				continue
			}
			select {
			case kept <- p:
			default:
				return fmt.Errorf("%d requests wait for the connection that is kept", len(kept))
			}
		}
	}
}

// paced is a request that has its time.
type paced struct {
	number int
	due    time.Time
}

func (c *client) report(p paced, err error) {
	took := time.Since(p.due)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		fmt.Printf("%d %d %q\n", p.number, took.Microseconds(), err.Error())
		return
	}
	fmt.Printf("%d %d\n", p.number, took.Microseconds())
}

// askOnNew makes a request on a connection of its own.
func (c *client) askOnNew(p paced) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return c.askPaced(conn, bufio.NewReader(conn), p)
}

// askOnOne makes the requests on one connection, and on another only when that failed.
func (c *client) askOnOne(requests <-chan paced) {
	var conn net.Conn
	var in *bufio.Reader
	for p := range requests {
		var err error
		if conn == nil {
			if conn, err = c.dial(); err != nil {
				c.report(p, err)
				conn = nil
				continue
			}
			in = bufio.NewReader(conn)
		}
		err = c.askPaced(conn, in, p)
		c.report(p, err)
		if err != nil {
			_ = conn.Close()
			conn = nil
		}
	}
	if conn != nil {
		_ = conn.Close()
	}
}

func (c *client) dial() (net.Conn, error) {
	return net.DialTimeout("tcp", c.address, patience)
}

func (c *client) askPaced(conn net.Conn, in *bufio.Reader, p paced) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	return c.ask(conn, in, fmt.Sprintf("/%s/%d", c.group, p.number), false)
}
