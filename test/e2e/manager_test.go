//go:build linux

package e2e

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serviceManager is the manager's end of NOTIFY_SOCKET.
type serviceManager struct {
	t    *testing.T
	conn *net.UnixConn
	fed  int // how often the watchdog was
}

func (w *world) startServiceManager() *serviceManager {
	w.t.Helper()
	path := w.path("notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { conn.Close() })
	w.agentEnv = append(w.agentEnv, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=200000")
	return &serviceManager{t: w.t, conn: conn}
}

// next returns the next message that does not feed the watchdog, or after so many that
// do the last of them.
func (m *serviceManager) next(feeds int) string {
	m.t.Helper()
	for {
		if err := m.conn.SetReadDeadline(time.Now().Add(waitLimit)); err != nil {
			m.t.Fatal(err)
		}
		datagram := make([]byte, 4096)
		n, err := m.conn.Read(datagram)
		if err != nil {
			m.t.Fatalf("the service manager hears nothing: %v", err)
		}
		message := string(datagram[:n])
		if message != "WATCHDOG=1" {
			return message
		}
		if m.fed++; feeds > 0 && m.fed >= feeds {
			return message
		}
	}
}

func (m *serviceManager) want(begin string) {
	m.t.Helper()
	if got := m.next(0); !strings.HasPrefix(got, begin) {
		m.t.Errorf("the service manager heard %q, want %q", got, begin)
	}
}

// TestServiceManager: systemd, or who speaks as it does, hears when the agent answers,
// that it lives, of reloads and of the end.
func TestServiceManager(t *testing.T) {
	w := newWorld(t)
	w.startAuthority()
	w.createTicket("ticket", "--max-uses", "1")
	manager := w.startServiceManager()
	w.startAgent(w.config(curlConfig))
	manager.want("READY=1\nSTATUS=1 identities, 1 destinations")
	if got := manager.next(3); got != "WATCHDOG=1" {
		t.Errorf("the service manager heard %q, want its watchdog fed", got)
	}
	w.reload(w.config(curlConfig))
	manager.want("RELOADING=1\nMONOTONIC_USEC=")
	manager.want("READY=1\nSTATUS=1 identities")
	w.reload("identities: 7")
	manager.want("RELOADING=1\n")
	manager.want("READY=1\nSTATUS=the last configuration was refused; in force: 1 identities")
	w.agent.Signal(syscall.SIGTERM)
	manager.want("STOPPING=1\n")
	if !w.agent.EndsWithin(waitLimit) {
		t.Error("the agent does not end")
	}
}
