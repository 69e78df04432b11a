//go:build linux

package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/test/lab"
)

// witnesses tell how connections ended for the servers that watch that, by their names.
type witnesses struct {
	mu    sync.Mutex
	ended map[string]chan string
}

func (e *witnesses) of(name string) chan string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended[name] == nil {
		e.ended[name] = make(chan string, 1)
	}
	return e.ended[name]
}

// watch reads the connection's name and waits for its end.
func (e *witnesses) watch(conn *net.TCPConn, say string) {
	reader := bufio.NewReader(conn)
	name, err := reader.ReadString('\n')
	if err != nil {
		return
	}
	_, _ = io.WriteString(conn, say)
	how := "end"
	if _, err := io.Copy(io.Discard, reader); err != nil {
		how = fmt.Sprint(err)
	}
	if errors.Is(err, syscall.ECONNRESET) || strings.Contains(how, "reset") {
		how = "reset"
	}
	e.of(strings.TrimSpace(name)) <- how
}

// tell says how a connection ended, once it has.
func (e *witnesses) tell(conn *net.TCPConn) {
	name, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return
	}
	select {
	case how := <-e.of(strings.TrimSpace(name)):
		_, _ = io.WriteString(conn, how)
	case <-time.After(waitLimit / 4):
		_, _ = io.WriteString(conn, "nothing")
	}
}

// startSocketServers starts the servers that test/e2e/socketcalls names, and one at
// loopback beside the program.
func startSocketServers(t *testing.T, servers, own *lab.NetNS) {
	t.Helper()
	e := &witnesses{ended: map[string]chan string{}}
	echo := func(conn *net.TCPConn) { _, _ = io.Copy(conn, conn) }
	kinds := map[int]func(*net.TCPConn){
		10: echo, 11: echo, 17: echo,
		12: func(conn *net.TCPConn) {
			_, _ = io.WriteString(conn, conn.RemoteAddr().String())
			_, _ = io.Copy(io.Discard, conn)
		},
		13: func(conn *net.TCPConn) {
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.SetLinger(0)
		},
		14: func(*net.TCPConn) {},
		15: func(conn *net.TCPConn) { e.watch(conn, "known\n") },
		18: func(conn *net.TCPConn) { e.watch(conn, "data") },
	}
	for number, serve := range kinds {
		serveSockets(t, servers, fmt.Sprintf("10.98.5.%d:8080", number), serve)
		serveSockets(t, servers, fmt.Sprintf("[fd98:5::%d]:8080", number), serve)
	}
	for _, address := range []string{"10.98.5.15:8090", "[fd98:5::15]:8090"} {
		serveSockets(t, servers, address, e.tell)
	}
	for _, address := range []string{"127.0.0.1:8080", "[::1]:8080"} {
		serveSockets(t, own, address, echo)
	}
}

// serveSockets serves each connection until the test ends; whoever serves it leaves the
// closing to this.
func serveSockets(t *testing.T, in *lab.NetNS, address string, serve func(*net.TCPConn)) {
	t.Helper()
	var listener *net.TCPListener
	err := in.Do(func() error {
		at, err := net.ResolveTCPAddr("tcp", address)
		if err == nil {
			listener, err = net.ListenTCP("tcp", at)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			conn, err := listener.AcceptTCP()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(2 * waitLimit))
				serve(conn)
			})
		}
	})
}
