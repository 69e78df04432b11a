package sockdiag

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/lanyardhq/lanyard/test/lab"
)

// serverEnv makes the test binary act as a server; see serve.
const serverEnv = "LANYARD_SOCKDIAG_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(serverEnv) == "" {
		os.Exit(m.Run())
	}
	if err := serve(os.Args[1], os.Args[2:]); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

// serve listens at an address, with the named options, and does what it is told by
// standard input, line by line: "accept" one connection, "as UID", "close" the
// listener. It answers each line with one.
func serve(address string, options []string) error {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		for _, option := range options {
			number, level := unix.TCP_DEFER_ACCEPT, unix.IPPROTO_TCP
			if option == "reuseport" {
				number, level = unix.SO_REUSEPORT, unix.SOL_SOCKET
			}
			var set error
			if err = errors.Join(c.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, number, 30) }), set); err != nil {
				return err
			}
		}
		return err
	}}
	listener, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	lines := bufio.NewScanner(os.Stdin)
	var held []net.Conn
	for lines.Scan() {
		word, argument, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "accept":
			var c net.Conn
			if c, err = listener.Accept(); err == nil {
				held = append(held, c)
			}
		case "as":
			uid, _ := strconv.Atoi(argument)
			if err = syscall.Setresuid(-1, 0, -1); err == nil {
				err = syscall.Setresuid(-1, uid, -1)
			}
		case "close":
			err = listener.Close()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		fmt.Println("done")
	}
	for _, c := range held {
		_ = c.Close()
	}
	return nil
}

// server is such a process.
type server struct {
	t       testing.TB
	in      io.Writer
	out     *bufio.Scanner
	address netip.AddrPort
}

func startServer(t testing.TB, place lab.Place, address string, options ...string) *server {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{address}, options...)...)
	cmd.Env = append(os.Environ(), serverEnv+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, place.Start(cmd))
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	s := &server{t: t, in: in, out: bufio.NewScanner(out)}
	s.address, err = netip.ParseAddrPort(s.line())
	must(t, err)
	return s
}

func (s *server) line() string {
	s.t.Helper()
	if !s.out.Scan() {
		s.t.Fatal("the server has ended")
	}
	return s.out.Text()
}

func (s *server) tell(format string, args ...any) {
	s.t.Helper()
	_, err := fmt.Fprintf(s.in, format+"\n", args...)
	must(s.t, err)
	if line := s.line(); line != "done" {
		s.t.Fatalf("the server says %q", line)
	}
}

// dial connects to the server, at this address if it is given.
func (s *server) dial(at ...string) *net.TCPConn {
	s.t.Helper()
	to := s.address.String()
	for _, a := range at {
		to = netip.AddrPortFrom(netip.MustParseAddr(a), s.address.Port()).String()
	}
	c, err := net.Dial("tcp", to)
	must(s.t, err)
	s.t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

func ends(c *net.TCPConn) (local, remote netip.AddrPort) {
	return c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
