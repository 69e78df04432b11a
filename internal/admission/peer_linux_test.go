package admission

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/internal/workload"
	"github.com/lanyardhq/lanyard/test/lab"
)

// asUser runs f as another effective user, on a thread that ends with it.
func asUser(t *testing.T, uid int, f func() error) error {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread is not used again
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
			done <- errno
			return
		}
		done <- f()
	}()
	return <-done
}

// TestWhoConnects: the party of a connection is the user who made it, over each kind
// of socket; of a connection that its maker has closed nothing is known.
func TestWhoConnects(t *testing.T) {
	lab.RequireRoot(t)
	dir, err := os.MkdirTemp("", "lanyard-admission-") // which another user may enter
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, listen := range [][2]string{{"tcp4", "127.0.0.1:0"}, {"tcp6", "[::1]:0"}, {"tcp", "[::]:0"}, {"unix", filepath.Join(dir, "socket")}} {
		t.Run(listen[1], func(t *testing.T) {
			l, err := net.Listen(listen[0], listen[1])
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			if listen[0] == "unix" {
				if err := os.Chmod(listen[1], 0o666); err != nil {
					t.Fatal(err)
				}
			}
			peers := PeersOf(l)
			for _, uid := range []int{0, 65534} {
				var client net.Conn
				err := asUser(t, uid, func() (err error) {
					client, err = net.Dial(l.Addr().Network(), dialable(l.Addr()))
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				server, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				if got := peers.Party(server); got != workload.UserParty(uint32(uid)) {
					t.Errorf("user %d: %+v", uid, got)
				}
				_ = client.Close()
				if got := peers.Party(server); listen[0] != "unix" && got != (workload.Party{}) {
					t.Errorf("user %d, closed: %+v", uid, got)
				}
				_ = server.Close()
			}
		})
	}
}

// dialable is where a listener on every address is reached over IPv4.
func dialable(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("127.0.0.1:%d", tcp.Port)
	}
	return a.String()
}

// TestAListenerIsNotItsClient: where a connection is gone, and its end's port listens
// now, that is nobody's connection.
func TestAListenerIsNotItsClient(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	at := addrPort(l.Addr())
	if _, ok := socketUser(at, netip.AddrPortFrom(at.Addr(), 1)); ok {
		t.Error("a listener was taken for a connection")
	}
	if !PeersOf(l).tells {
		t.Error("the kernel tells nothing")
	}
}

func BenchmarkParty(b *testing.B) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	client, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	server, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	peers := PeersOf(l)
	for b.Loop() {
		if peers.Party(server) == (workload.Party{}) {
			b.Fatal("not found")
		}
	}
}
