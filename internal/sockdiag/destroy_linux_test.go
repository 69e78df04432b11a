package sockdiag

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/test/lab"
)

// pair is a connection within a network namespace of the test's own, and a Diag there.
type pair struct {
	diag           *Diag
	client, server *net.TCPConn
}

func newPair(t *testing.T, ns *lab.NetNS, address string) (p pair) {
	t.Helper()
	must(t, ns.Do(func() (err error) {
		if p.diag, err = Open(); err != nil {
			return err
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		defer l.Close()
		client, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", l.Addr().(*net.TCPAddr).Port))
		if err != nil {
			return err
		}
		server, err := l.Accept()
		if err != nil {
			return err
		}
		p.client, p.server = client.(*net.TCPConn), server.(*net.TCPConn)
		return nil
	}))
	t.Cleanup(func() {
		_, _ = p.client.Close(), p.server.Close()
		must(t, p.diag.Close())
	})
	return p
}

// find waits until the server's end is in this state.
func (p pair) find(t *testing.T, state State) Socket {
	t.Helper()
	at, _ := ends(p.server)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		found, err := p.diag.Overlapping(at)
		must(t, err)
		if len(found) == 1 && found[0].State == state {
			return found[0]
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v, want one socket in state %v", found, state)
		}
	}
}

// Exactly the socket that was found is ended, of either family, and whether or not a
// process has it: that is the caller's to look at.
func TestDestroy(t *testing.T) {
	ns := lab.NewNetNS(t)
	for _, address := range []string{"127.0.0.1:0", "[::]:0"} {
		p := newPair(t, ns, address)
		s := p.find(t, Established)
		if s.Closed() {
			t.Error("an open connection counts as closed")
		}
		must(t, p.diag.Destroy(s))
		if _, err := p.client.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("the other end reads %v", err)
		}
		if err := p.diag.Destroy(s); !errors.Is(err, ErrNoSocket) {
			t.Errorf("what is ended is ended again: %v", err)
		}
	}
}

func TestDestroyWhatIsInTimeWait(t *testing.T) {
	p := newPair(t, lab.NewNetNS(t), "[::]:0")
	must(t, p.server.CloseWrite())
	if half := p.find(t, FinWait2); half.Closed() {
		t.Error("a connection that a process reads from counts as closed")
	}
	must(t, p.server.Close())
	if left := p.find(t, FinWait2); !left.Closed() {
		t.Error("a connection that nobody has does not count as closed")
	}
	_, err := io.Copy(io.Discard, p.client)
	must(t, err)
	must(t, p.client.Close())
	s := p.find(t, TimeWait)
	other := s
	other.exact.id[40]++ // its cookie: another socket with the same two addresses
	if err := p.diag.Destroy(other); !errors.Is(err, ErrNoSocket) {
		t.Errorf("another socket: %v", err)
	}
	must(t, p.diag.Destroy(s))
	if found, err := p.diag.Overlapping(s.Local); err != nil || len(found) > 0 {
		t.Errorf("%v, %v are left", found, err)
	}
}

// What was written before a connection was closed is counted until its peer has it.
func TestUndelivered(t *testing.T) {
	const written = 1 << 16
	p := newPair(t, lab.NewNetNS(t), "127.0.0.1:0")
	must(t, errors.Join(p.client.SetReadBuffer(4096), p.server.SetWriteBuffer(written)))
	_, err := p.server.Write(make([]byte, written))
	must(t, err)
	must(t, p.server.Close())
	lab.Eventually(t, 10*time.Second, func() error {
		s, here := p.find(t, FinWait1), delivered(t, p.client)
		if n := int(s.Undelivered()); !s.Closed() || n == 0 || n+here != written {
			return fmt.Errorf("%d bytes are undelivered and %d delivered of %d, closed %t", n, here, written, s.Closed())
		}
		return nil
	})
	if n, err := io.Copy(io.Discard, p.client); n != written || err != nil {
		t.Errorf("%d of %d bytes, then %v", n, written, err)
	}
	s := p.find(t, FinWait2)
	if n := s.Undelivered(); n != 0 {
		t.Errorf("%d bytes are undelivered after all was read", n)
	}
	for state, want := range map[State][2]uint32{FinWait1: {0, 7}, LastAck: {0, 7}, Closing: {0, 7}, FinWait2: {0, 0}, TimeWait: {0, 0}} {
		fin, more := Socket{State: state, Unacknowledged: 1}, Socket{State: state, Unacknowledged: 8}
		if got := [2]uint32{fin.Undelivered(), more.Undelivered()}; got != want {
			t.Errorf("in state %v with the FIN alone, and seven bytes: %v, want %v", state, got, want)
		}
	}
}

// delivered is how many bytes wait to be read.
func delivered(t *testing.T, c *net.TCPConn) (n int) {
	t.Helper()
	raw, err := c.SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ) }))
	must(t, err)
	return n
}

func TestOverlapping(t *testing.T) {
	for _, k := range []struct {
		socket string
		v6only bool
		is     []string
		not    []string
	}{
		{"127.0.0.1:80", false, []string{"127.0.0.1:80", "[::ffff:127.0.0.1]:80", "0.0.0.0:80", "[::]:80"}, []string{"127.0.0.2:80", "127.0.0.1:81", "[::1]:80", "[::]:81"}},
		{"[::1]:80", false, []string{"[::1]:80", "[::]:80"}, []string{"127.0.0.1:80", "[::1]:81"}},
		{"[fe80::1]:80", false, []string{"[fe80::1%eth0]:80"}, []string{"[fe80::2%eth0]:80"}},
		{"0.0.0.0:80", false, []string{"127.0.0.1:80", "0.0.0.0:80", "[::]:80"}, []string{"[::1]:80"}},
		{"[::]:80", false, []string{"127.0.0.1:80", "[::1]:80", "[::]:80"}, []string{"127.0.0.1:81"}},
		{"[::]:80", true, []string{"[::1]:80", "[::]:80"}, []string{"127.0.0.1:80"}},
	} {
		s := Socket{Local: netip.MustParseAddrPort(k.socket), v6only: k.v6only}
		for _, at := range k.is {
			if !s.overlaps(unmap(netip.MustParseAddrPort(at))) {
				t.Errorf("%s (v6only %t) does not overlap %s", k.socket, k.v6only, at)
			}
		}
		for _, at := range k.not {
			if s.overlaps(unmap(netip.MustParseAddrPort(at))) {
				t.Errorf("%s (v6only %t) overlaps %s", k.socket, k.v6only, at)
			}
		}
	}
}
