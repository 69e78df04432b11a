//go:build linux

package sdnotify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sendLimit bounds how long a manager that does not read is waited for.
const sendLimit = time.Second

// Notifier speaks to the service manager. One that is nil speaks to nobody, and fails
// never. It is safe for concurrent use.
type Notifier struct {
	socket   net.UnixAddr
	watchdog time.Duration // within which the manager wants to hear; 0 for never
}

// FromEnvironment returns the notifier that NOTIFY_SOCKET asks for, nil without. A socket
// whose name begins with @ is an abstract one. WATCHDOG_USEC counts if WATCHDOG_PID names
// this process or nobody.
func FromEnvironment(variable func(string) string) (*Notifier, error) {
	path := variable("NOTIFY_SOCKET")
	if path == "" {
		return nil, nil
	}
	if path[0] != '/' && path[0] != '@' {
		return nil, fmt.Errorf("connect to service manager: NOTIFY_SOCKET %q is no path of a Unix socket", path)
	}
	n := &Notifier{socket: net.UnixAddr{Name: path, Net: "unixgram"}}
	conn, err := n.dial()
	if err != nil {
		return nil, err
	}
	if err := conn.Close(); err != nil {
		return nil, fmt.Errorf("connect to service manager: %w", err)
	}
	n.watchdog, err = watchdogOf(variable)
	if err != nil {
		return nil, err
	}
	return n, nil
}

// dial connects for one message: a manager that is replaced has a socket of its own.
func (n *Notifier) dial() (*net.UnixConn, error) {
	conn, err := net.DialUnix("unixgram", nil, &n.socket)
	if err != nil {
		return nil, fmt.Errorf("connect to service manager: %w", err)
	}
	return conn, nil
}

func watchdogOf(variable func(string) string) (time.Duration, error) {
	text := variable("WATCHDOG_USEC")
	if pid := variable("WATCHDOG_PID"); text == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0, nil
	}
	microseconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || microseconds <= 0 || microseconds > int64(24*time.Hour/time.Microsecond) {
		return 0, fmt.Errorf("connect to service manager: WATCHDOG_USEC %q is no time in microseconds", text)
	}
	return time.Duration(microseconds) * time.Microsecond, nil
}

// Ready says that the service does its work: at first, and after Reloading.
func (n *Notifier) Ready(status string) error { return n.send("READY=1", "STATUS="+status) }

// Reloading says that the service reads its configuration anew; Ready ends that.
func (n *Notifier) Reloading() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return fmt.Errorf("read clock: %w", err)
	}
	return n.send("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(now.Nano()/int64(time.Microsecond), 10))
}

// Stopping says that the service ends.
func (n *Notifier) Stopping(status string) error { return n.send("STOPPING=1", "STATUS="+status) }

// KeepAlive feeds the manager's watchdog while the service is alive, until ctx ends, and
// tells failed of the first of several failures. It returns at once where nobody watches.
func (n *Notifier) KeepAlive(ctx context.Context, alive func() bool, failed func(error)) {
	if n == nil || n.watchdog == 0 {
		return
	}
	tick := time.NewTicker(max(n.watchdog/2, time.Millisecond)) // as sd_watchdog_enabled(3) recommends
	defer tick.Stop()
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !alive() {
			continue
		}
		err := n.send("WATCHDOG=1")
		if err != nil && !failing {
			failed(err)
		}
		failing = err != nil
	}
}

// send sends the lines in one datagram.
func (n *Notifier) send(lines ...string) error {
	if n == nil {
		return nil
	}
	for i, line := range lines {
		lines[i] = strings.ReplaceAll(line, "\n", " ")
	}
	conn, err := n.dial()
	if err != nil {
		return err
	}
	err = conn.SetWriteDeadline(time.Now().Add(sendLimit))
	if err == nil {
		_, err = conn.Write([]byte(strings.Join(lines, "\n")))
	}
	if err = errors.Join(err, conn.Close()); err != nil {
		return fmt.Errorf("tell service manager %s: %w", lines[0], err)
	}
	return nil
}
