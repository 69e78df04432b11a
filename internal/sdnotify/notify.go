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
	conn     *net.UnixConn
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
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("connect to service manager: %w", err)
	}
	n := &Notifier{conn: conn}
	if n.watchdog, err = watchdogOf(variable); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return n, nil
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

// KeepAlive feeds the manager's watchdog while the service is alive, until ctx ends. It
// returns at once where there is none.
func (n *Notifier) KeepAlive(ctx context.Context, alive func() bool) error {
	if n == nil || n.watchdog == 0 {
		return nil
	}
	tick := time.NewTicker(max(n.watchdog/2, time.Millisecond)) // as sd_watchdog_enabled(3) recommends
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if !alive() {
				continue
			}
			if err := n.send("WATCHDOG=1"); err != nil {
				return err
			}
		}
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
	err := n.conn.SetWriteDeadline(time.Now().Add(sendLimit))
	if err == nil {
		_, err = n.conn.Write([]byte(strings.Join(lines, "\n")))
	}
	if err != nil {
		return fmt.Errorf("tell service manager %s: %w", lines[0], err)
	}
	return nil
}

// Close lets go of the socket.
func (n *Notifier) Close() error {
	if n == nil {
		return nil
	}
	return n.conn.Close()
}
