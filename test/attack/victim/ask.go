//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	host     = "ledger.test:8080"
	patience = 30 * time.Second // how long a connection may take; then it hangs
)

// ipLocalPortRange is IP_LOCAL_PORT_RANGE, of Linux 6.3.
const ipLocalPortRange = 51

// dial connects from a port of the range: chosen by the kernel, as nearly all
// programs have it, or by us, every fourth time and on a kernel that knows no range
// of one socket. Others may have a port; then it tries the next.
func (v *victim) dial(n int, to string, timeout time.Duration) (conn net.Conn, err error) {
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		dialer := net.Dialer{Timeout: timeout, Control: func(network, _ string, raw syscall.RawConn) error {
			return control(raw, func(fd int) error { return v.prepare(fd, n, network) })
		}}
		conn, err = dialer.Dial("tcp", to)
		if !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.EADDRINUSE) {
			return conn, err
		}
		time.Sleep(time.Millisecond)
	}
	return nil, err
}

func (v *victim) prepare(fd, n int, network string) error {
	if v.fastOpen && n%2 == 1 { // which those that are abandoned are not: they would send nothing
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1); err != nil {
			return err
		}
	}
	if v.low == 0 {
		return nil
	}
	if n%4 != 0 {
		err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, ipLocalPortRange, v.high<<16|v.low)
		if !errors.Is(err, unix.ENOPROTOOPT) {
			return err
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	port := v.low + rand.IntN(v.high-v.low+1)
	if strings.HasSuffix(network, "6") {
		return unix.Bind(fd, &unix.SockaddrInet6{Port: port})
	}
	return unix.Bind(fd, &unix.SockaddrInet4{Port: port})
}

func control(raw syscall.RawConn, do func(fd int) error) error {
	var doErr error
	err := raw.Control(func(fd uintptr) { doErr = do(int(fd)) })
	return errors.Join(err, doErr)
}

// converse sends a request and returns the answer. The connection then ends in one
// of the ways in which programs leave.
func (v *victim) converse(n int, to, request string) (status int, body string, err error) {
	conn, err := v.dial(n, to, patience)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, "", err
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return 0, "", err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", fmt.Errorf("from %v: %w", conn.LocalAddr(), err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if n%8 != 7 { // else its port stays in TIME_WAIT
		err = errors.Join(err, conn.(*net.TCPConn).SetLinger(0))
	}
	return response.StatusCode, string(content), err
}

// ask makes a request that has to carry the token, and reports whether it did.
func (v *victim) ask(n int) (served bool, err error) {
	path := fmt.Sprintf("/victim/own/%d", n)
	status, body, err := v.converse(n, v.targets[n%len(v.targets)], get(path, host, ""))
	if err != nil {
		return false, err
	}
	if status != http.StatusOK || !strings.HasPrefix(body, path+" ") {
		return false, fmt.Errorf("asked for %s, got %d with %q", path, status, body)
	}
	return body == path+" token=true", nil
}

// abandon leaves a connection that is not made at once, as programs do that try
// several addresses, and that which is at once too.
func (v *victim) abandon(n int) {
	to := append([]string{v.local}, v.targets...)
	conn, err := v.dial(n, to[n/2%len(to)], 2*time.Millisecond)
	if err == nil {
		_ = conn.(*net.TCPConn).SetLinger(0)
		_ = conn.Close()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.result.Abandoned++
}

// fetch gets the program's own token from the local API.
func (v *victim) fetch(n int) error {
	request := get("/peer/v1/id_token?audience=http://"+host, v.local, "Lanyard-Workload: 1\r\n")
	status, body, err := v.converse(n, v.local, request)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("the local API answered %d: %s", status, body)
	}
	return err
}

func get(path, host, fields string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\n" + fields + "\r\n"
}
