package localapi

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/admission"
	"github.com/lanyardhq/lanyard/test/lab"
)

// TestAdminOnly: only who was root when it connected to the Unix socket, and says so in a
// field that nobody sends by accident, is answered.
func TestAdminOnly(t *testing.T) {
	lab.RequireRoot(t)
	folder, err := os.MkdirTemp("", "lanyard-admin-") // which another user may enter
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	socket, err := ListenUnix(t.Context(), filepath.Join(folder, "agent.sock"))
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	told := AdminOnly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "told") }))
	for _, l := range []net.Listener{socket, tcp} {
		server := NewServer(told, Door{Peers: admission.PeersOf(l), Gate: admission.NewGate(9), Log: slog.New(slog.DiscardHandler)})
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(l) // ends when the server is closed
		}()
		defer func() {
			_ = server.Close()
			<-done
		}()
	}
	const own = AdminHeader + ": 1\r\n"
	for _, c := range []struct {
		name    string
		uid     int
		network string
		fields  string
		status  int
	}{
		{"root", 0, "unix", own, 200},
		{"root without the field", 0, "unix", "", 403},
		{"root's browser", 0, "unix", own + "Origin: http://evil.test\r\n", 403},
		{"somebody else", 65534, "unix", own, 403},
		{"root over TCP", 0, "tcp", own, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			address := socket.path
			if c.network == "tcp" {
				address = tcp.Addr().String()
			}
			status, body, err := askAsUser(c.uid, c.network, address, c.fields)
			if err != nil || status != c.status || (strings.TrimSpace(body) == "told") != (c.status == 200) {
				t.Errorf("answered %d %q (%v), want %d", status, body, err, c.status)
			}
		})
	}
}

// askAsUser sends a request as another effective user, on a thread that ends with it.
func askAsUser(uid int, network, address, fields string) (status int, body string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock: the thread is not used again
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
			err = errno
			return
		}
		status, body, err = exchange(network, address, fields)
	}()
	<-done
	return status, body, err
}

func exchange(network, address, fields string) (status int, body string, err error) {
	c, err := net.Dial(network, address)
	if err != nil {
		return 0, "", err
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: localhost\r\n%s\r\n", fields); err != nil {
		return 0, "", err
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(content), err
}
