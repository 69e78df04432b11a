//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// turnInto opens a connection, makes a request of its own on it if there are
// arguments left to say so, and becomes another program, which inherits the
// connection as descriptor 3.
func turnInto(program, target string, arguments []string) error {
	conn, err := net.DialTimeout("tcp", target, patience)
	if err != nil {
		return err
	}
	if len(arguments) > 0 && arguments[0] == "ask-before" {
		arguments = arguments[1:]
		if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if _, err := io.WriteString(conn, get("/victim/own/before", host, "")); err != nil {
			return err
		}
		if _, err := conn.Read(make([]byte, 4096)); err != nil {
			return err
		}
	}
	file, err := conn.(*net.TCPConn).File()
	if err != nil {
		return err
	}
	if err := unix.Dup3(int(file.Fd()), 3, 0); err != nil { // Go keeps no descriptor there that it needs after exec
		return err
	}
	return syscall.Exec(program, append([]string{program}, arguments...), os.Environ())
}

// takeConnections writes what strangers hand over to the connections that they hand
// over with it: a program that is careless with both.
func takeConnections(ctx context.Context, name string) error {
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = socket.Close() })()
	fmt.Fprintln(os.Stderr, "running")
	content, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	for {
		n, m, _, _, err := socket.ReadMsgUnix(content, rights)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := writeTo(rights[:m], content[:n]); err != nil {
			return err
		}
	}
}

// writeTo sends a request on a connection in a control message and closes it.
func writeTo(rights, request []byte) error {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) != 1 {
		return fmt.Errorf("a message without a connection: %w", err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	for _, fd := range fds {
		_ = unix.Sendto(fd, request, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, nil) // it may have ended
		_ = unix.Close(fd)
	}
	return nil
}
