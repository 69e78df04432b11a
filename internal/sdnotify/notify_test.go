//go:build linux

package sdnotify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const waitLimit = 10 * time.Second

// manager is a service manager's end of the socket.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
	path string
}

func newManager(t *testing.T, path string) *manager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &manager{t, conn, path}
}

// environment is what the manager gives a service.
func (m *manager) environment(more map[string]string) func(string) string {
	return func(name string) string {
		if name == "NOTIFY_SOCKET" {
			return m.path
		}
		return more[name]
	}
}

// next returns the next datagram.
func (m *manager) next() string {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(waitLimit)); err != nil {
		m.t.Fatal(err)
	}
	datagram := make([]byte, 4096)
	n, err := m.conn.Read(datagram)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(datagram[:n])
}

func TestWhatTheManagerHears(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "notify"), fmt.Sprintf("@lanyard-test-%d", os.Getpid())} {
		m := newManager(t, path)
		n, err := FromEnvironment(m.environment(nil))
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Ready("all\nis well"); err != nil {
			t.Fatal(err)
		}
		if got := m.next(); got != "READY=1\nSTATUS=all is well" {
			t.Errorf("heard %q", got)
		}
		if err := n.Reloading(); err != nil {
			t.Fatal(err)
		}
		var microseconds int64
		if _, err := fmt.Sscanf(m.next(), "RELOADING=1\nMONOTONIC_USEC=%d", &microseconds); err != nil || microseconds <= 0 {
			t.Errorf("heard of a reload at %d (%v)", microseconds, err)
		}
		if err := n.Stopping("ends"); err != nil {
			t.Fatal(err)
		}
		if got := m.next(); got != "STOPPING=1\nSTATUS=ends" {
			t.Errorf("heard %q", got)
		}
	}
}

// The watchdog is fed while the service is alive, and only then.
func TestWatchdog(t *testing.T) {
	m := newManager(t, filepath.Join(t.TempDir(), "notify"))
	n, err := FromEnvironment(m.environment(map[string]string{"WATCHDOG_USEC": "20000", "WATCHDOG_PID": fmt.Sprint(os.Getpid())}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{})
	lives := []bool{false, false, true, false}
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.KeepAlive(ctx, func() bool {
			if len(lives) == 0 {
				return false
			}
			life := lives[0]
			if lives = lives[1:]; len(lives) == 0 {
				close(asked)
			}
			return life
		}, func(err error) { t.Error(err) })
	}()
	<-asked
	cancel()
	<-done
	if err := n.Stopping("last"); err != nil {
		t.Fatal(err)
	}
	if got := m.next() + " " + m.next(); got != "WATCHDOG=1 STOPPING=1\nSTATUS=last" {
		t.Errorf("heard %q; want the watchdog fed once", got)
	}
}

func TestNobodyListens(t *testing.T) {
	none, err := FromEnvironment(func(string) string { return "" })
	if none != nil || err != nil {
		t.Fatalf("without NOTIFY_SOCKET: %v, %v", none, err)
	}
	alive := func() bool { t.Error("asked"); return true }
	none.KeepAlive(t.Context(), alive, nil)
	for _, err := range []error{none.Ready(""), none.Reloading(), none.Stopping("")} {
		if err != nil {
			t.Error(err)
		}
	}
	m := newManager(t, filepath.Join(t.TempDir(), "notify"))
	other, err := FromEnvironment(m.environment(map[string]string{"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}))
	if err != nil {
		t.Fatal(err)
	}
	other.KeepAlive(t.Context(), alive, nil) // another process's
}

func TestEnvironmentThatIsWrong(t *testing.T) {
	m := newManager(t, filepath.Join(t.TempDir(), "notify"))
	for _, test := range []struct{ socket, watchdog, says string }{
		{"relative", "", "no path of a Unix socket"},
		{filepath.Join(t.TempDir(), "nobody"), "", "connect to service manager"},
		{m.path, "soon", "WATCHDOG_USEC"},
		{m.path, "-1", "WATCHDOG_USEC"},
	} {
		n, err := FromEnvironment(func(name string) string {
			return map[string]string{"NOTIFY_SOCKET": test.socket, "WATCHDOG_USEC": test.watchdog}[name]
		})
		if n != nil || err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

// A manager that is away for a while is told again, and that it is away is said once.
func TestManagerThatIsAway(t *testing.T) {
	m := newManager(t, filepath.Join(t.TempDir(), "notify"))
	n, err := FromEnvironment(m.environment(map[string]string{"WATCHDOG_USEC": "20000"}))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(m.conn.Close(), os.Remove(m.path)); err != nil {
		t.Fatal(err)
	}
	failures, asked := make(chan error, 100), make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.KeepAlive(ctx, func() bool {
			select {
			case asked <- struct{}{}:
			default:
			}
			return true
		}, func(err error) { failures <- err })
	}()
	for range 3 {
		<-asked
	}
	back := newManager(t, m.path)
	if got := back.next(); got != "WATCHDOG=1" {
		t.Errorf("heard %q", got)
	}
	cancel()
	<-done
	if len(failures) != 1 {
		t.Errorf("told of %d failures, want 1", len(failures))
	}
}
