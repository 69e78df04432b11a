//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// before has sockets with the address of a listener that does not listen yet: where both
// say SO_REUSEADDR, it can be bound and listen nevertheless. Each of them connects to a
// port that a client of the listener may have. The kernel prefers a connection to a
// listener, so that the client's SYN is the other half of a simultaneous open (RFC 9293
// §3.5) with the stranger's socket. What is read from clients is printed.
func (s *stranger) before() {
	waiting := map[string]int{} // descriptors by the two ends, as /proc/net/tcp has them
	for _, to := range s.local {
		if to.mapped {
			continue
		}
		for port := s.low; port <= s.high; port++ {
			fd, err := s.mirror(to, port)
			if err != nil {
				fmt.Println("cannot", err)
				continue
			}
			waiting[ends(to, port)] = fd
		}
	}
	fmt.Println("running")
	for {
		for _, ends := range connecting() {
			if fd, found := waiting[ends]; found {
				delete(waiting, ends)
				go s.take(fd)
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// mirror makes a socket that has a listener's address, and waits for the client that
// will have this port: what answers to its own SYN does not reach it.
func (s *stranger) mirror(to address, port int) (int, error) {
	fd, err := unix.Socket(to.family(), unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	err = errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), dropAnswers(fd, to), unix.Bind(fd, to.sockaddr()))
	if err == nil {
		err = unix.Connect(fd, to.at(port))
	}
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return -1, err
	}
	return fd, nil
}

func (a address) at(port int) unix.Sockaddr {
	if a.family() == unix.AF_INET {
		return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: port}
	}
	return &unix.SockaddrInet6{Addr: a.Addr().As16(), Port: port}
}

// take lets what comes to a socket through, and prints it.
func (s *stranger) take(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MINTTL, 0)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, ipv6MinHopCount, 0)
	buffer := make([]byte, 4096)
	for range 5000 {
		n, _ := unix.Read(fd, buffer)
		if n > 0 {
			fmt.Printf("read %q\n", buffer[:n])
			send(fd, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nforged")
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// ends writes the client's end of a connection as /proc/net/tcp does.
func ends(to address, port int) string {
	if to.family() == unix.AF_INET {
		return fmt.Sprintf("0100007F:%04X 0100007F:%04X", port, to.Port())
	}
	const loopback = "00000000000000000000000001000000"
	return fmt.Sprintf("%s:%04X %s:%04X", loopback, port, loopback, to.Port())
}

// connecting returns the ends of all sockets that wait for the answer to their SYN.
func connecting() (all []string) {
	for _, path := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		file, err := os.Open(path)
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if state, err := strconv.ParseUint(fields[3], 16, 8); err == nil && state == unix.BPF_TCP_SYN_SENT {
				all = append(all, fields[1]+" "+fields[2])
			}
		}
		_ = file.Close()
	}
	return all
}
