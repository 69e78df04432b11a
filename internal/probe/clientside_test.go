//go:build linux

package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// connectLimit ends a blocking connect() of a client with EINPROGRESS: nothing
// that the hooks do may make one hang.
const connectLimit = 3 * time.Second

// A request is one thing that a client process is to do.
type request struct {
	Do     string
	Socket string // name of the socket it is done to
	Addr   string
	Option string
	Path   string
	Number int
	Agent  Config
}

// A response says how it went. A client sends one unasked when it starts, also
// after an exec.
type response struct {
	Errno  syscall.Errno
	Error  string
	Local  string
	Peer   string
	Text   string
	Counts map[string]int
}

// client is the state of a client process: sockets by name, and what it runs
// beside them.
type client struct {
	sockets map[string]int
	leader  chan func() // done on the process's first thread
	agent   *agent
	hammer  *hammer
}

// runClient answers requests on standard input until that ends. It does them on
// a thread that is not the first.
func runClient() {
	c := &client{sockets: map[string]int{}, leader: make(chan func())}
	go func() {
		runtime.LockOSThread()
		in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
		if err := out.Encode(response{}); err != nil {
			os.Exit(1)
		}
		for {
			var r request
			if err := in.Decode(&r); err != nil {
				os.Exit(0)
			}
			if err := out.Encode(c.answer(r)); err != nil {
				os.Exit(1)
			}
		}
	}()
	for f := range c.leader {
		f()
	}
}

func (c *client) answer(r request) response {
	var answer response
	err := c.do(r, &answer)
	if err != nil {
		answer.Error = fmt.Sprintf("%s: %v", r.Do, err)
		errors.As(err, &answer.Errno)
	}
	return answer
}

func (c *client) do(r request, answer *response) error {
	fd := c.sockets[r.Socket]
	switch r.Do {
	case "socket":
		return c.socket(r)
	case "bind":
		at, err := sockaddr(fd, r.Addr)
		if err != nil {
			return err
		}
		return unix.Bind(fd, at)
	case "option":
		return setOption(fd, r)
	case "connect":
		to, err := sockaddr(fd, r.Addr)
		if err != nil {
			return err
		}
		err = connect(fd, to)
		answer.Local, answer.Peer = endsOf(fd)
		return err
	case "finish":
		return finishConnect(fd)
	case "fastopen":
		to, err := sockaddr(fd, r.Addr)
		if err != nil {
			return err
		}
		err = unix.Sendto(fd, []byte(r.Option), unix.MSG_FASTOPEN, to)
		answer.Local, answer.Peer = endsOf(fd)
		return err
	case "ends":
		answer.Local, answer.Peer = endsOf(fd)
		return nil
	case "write":
		_, err := unix.Write(fd, []byte(r.Option))
		return err
	case "read":
		buffer := make([]byte, 64)
		n, err := read(fd, buffer)
		answer.Text = string(buffer[:max(n, 0)])
		return err
	case "is deferred":
		set, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT)
		answer.Counts = map[string]int{"deferred": set}
		return err
	case "disconnect":
		return disconnect(fd)
	case "number":
		answer.Text = fmt.Sprint(fd)
		return nil
	case "close":
		delete(c.sockets, r.Socket)
		return unix.Close(fd)
	default:
		return c.doAsProcess(r, answer)
	}
}

// doAsProcess does what concerns the process, not one socket.
func (c *client) doAsProcess(r request, answer *response) error {
	switch r.Do {
	case "setuid":
		return syscall.Setresuid(r.Number, r.Number, r.Number)
	case "set euid":
		return syscall.Setresuid(-1, r.Number, -1)
	case "setgid":
		return syscall.Setresgid(r.Number, r.Number, r.Number)
	case "exec":
		return syscall.Exec(r.Path, []string{r.Path}, os.Environ())
	case "exec on first thread":
		failed := make(chan error)
		c.leader <- func() { failed <- syscall.Exec(r.Path, []string{r.Path}, os.Environ()) }
		return <-failed
	case "end first thread":
		c.leader <- func() { _, _, _ = syscall.Syscall(unix.SYS_EXIT, 0, 0, 0) }
		return nil
	case "fork and connect":
		var err error
		answer.Text, err = fork(r.Addr)
		return err
	case "fork and connect many":
		for range r.Number {
			if _, err := fork(r.Addr); err != nil {
				return err
			}
		}
		return nil
	case "fork and sleep":
		var err error
		answer.Text, err = fork("")
		return err
	case "run and connect":
		return runAndConnect(r.Path, r.Addr)
	case "connect many":
		return connectMany(r.Addr, r.Number)
	case "try many":
		return tryMany(r, answer)
	case "race ties":
		return raceTies(r, answer)
	case "keep only capability":
		return keepOnlyCapability(r.Number)
	case "check":
		return Check()
	case "hammer":
		c.hammer = startHammer(r.Addr, r.Number)
		return nil
	case "stop hammer":
		answer.Counts = c.hammer.stop()
		return nil
	default:
		return c.doAsAgent(r, answer)
	}
}

// doAsAgent lets the client be the agent itself.
func (c *client) doAsAgent(r request, answer *response) (err error) {
	switch r.Do {
	case "open agent":
		c.agent, err = openAgent(r.Agent, here)
		return err
	case "listen as agent":
		return c.agent.listen(here)
	case "watch":
		return c.agent.probe.Apply(everyone(uint16(r.Number)), func() {})
	case "run agent":
		c.agent.run()
		return c.agent.probe.beat()
	case "count":
		counts, err := c.agent.probe.Counters()
		answer.Counts = map[string]int{}
		for name, n := range counts {
			answer.Counts[name] = int(n)
		}
		return err
	case "close agent":
		return c.agent.close()
	default:
		return fmt.Errorf("cannot do %q", r.Do)
	}
}

func (c *client) socket(r request) error {
	family, kind, protocol := unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP
	if r.Number == 6 {
		family = unix.AF_INET6
	}
	switch r.Option {
	case "udp":
		kind, protocol = unix.SOCK_DGRAM, unix.IPPROTO_UDP
	case "mptcp":
		protocol = unix.IPPROTO_MPTCP
	}
	fd, err := unix.Socket(family, kind, protocol)
	if err != nil {
		return err
	}
	c.sockets[r.Socket] = fd
	limit := unix.NsecToTimeval(int64(connectLimit))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit); err != nil {
		return err
	}
	return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)
}

func setOption(fd int, r request) error {
	switch r.Option {
	case "reuse address":
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	case "reset on close":
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	case "device":
		return unix.BindToDevice(fd, r.Path)
	case "device by index":
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, r.Number)
	case "long value":
		return unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, "\x01"+strings.Repeat("\x00", r.Number-1))
	case "fast open on connect":
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, 1)
	case "no waiting":
		return unix.SetNonblock(fd, true)
	default:
		return fmt.Errorf("no option %q", r.Option)
	}
}

// sockaddr reads an address for a socket of either family: IPv4 on an IPv6 socket
// becomes IPv4-mapped.
func sockaddr(fd int, text string) (unix.Sockaddr, error) {
	addr, err := netip.ParseAddrPort(text)
	if err != nil {
		return nil, err
	}
	family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return nil, err
	}
	if family == unix.AF_INET {
		return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}, nil
	}
	at := &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	if addr.Addr().Zone() != "" {
		at.ZoneId = 1 // loopback, which every namespace has as its first device
	}
	return at, nil
}

// endsOf asks the kernel for both ends of a socket; "" where it has none.
func endsOf(fd int) (local, peer string) {
	if at, err := unix.Getsockname(fd); err == nil {
		local = textOf(at)
	}
	if at, err := unix.Getpeername(fd); err == nil {
		peer = textOf(at)
	}
	return local, peer
}

func textOf(at unix.Sockaddr) string {
	switch at := at.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(at.Addr), uint16(at.Port)).String()
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(at.Addr), uint16(at.Port)).String()
	}
	return ""
}

// connect goes on where a signal of the Go runtime interrupts it, which ends the
// system call of a socket with a timeout, but not its connecting.
func connect(fd int, to unix.Sockaddr) error {
	err := unix.Connect(fd, to)
	if !errors.Is(err, unix.EINTR) {
		return err
	}
	return finishConnect(fd)
}

// finishConnect waits until a connect() that goes on without the caller has ended.
func finishConnect(fd int) error {
	for {
		ready, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, int(connectLimit.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if ready == 0 {
			return unix.EINPROGRESS
		}
		result, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && result != 0 {
			err = syscall.Errno(result)
		}
		return err
	}
}

func read(fd int, buffer []byte) (int, error) {
	for {
		n, err := unix.Read(fd, buffer)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// disconnect is connect(2) to no family: it gives the socket up and keeps it.
func disconnect(fd int) error {
	var nowhere unix.RawSockaddrInet4 // family AF_UNSPEC
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&nowhere)), unsafe.Sizeof(nowhere))
	if errno != 0 {
		return errno
	}
	return nil
}

// fork makes a process that never execs, and returns its id. With an address it
// connects there and ends; without one it sleeps until the test kills it.
func fork(text string) (pid string, err error) {
	to := unix.RawSockaddrInet4{Family: unix.AF_INET}
	if text != "" {
		addr, err := netip.ParseAddrPort(text)
		if err != nil {
			return "", err
		}
		to.Addr = addr.Addr().As4()
		*(*[2]byte)(unsafe.Pointer(&to.Port)) = [2]byte{byte(addr.Port() >> 8), byte(addr.Port())}
	}
	child, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return "", errno
	}
	if child == 0 {
		inFork(&to, text != "")
	}
	if text != "" {
		err = waitFor(int(child))
	}
	return fmt.Sprint(child), err
}

// inFork is all that the forked process does. Only system calls are allowed: the
// other threads of Go's runtime are gone. A prologue that looks at the stack could
// find there that the parent was to be preempted, and wait for the scheduler.
//
//go:nosplit
//go:norace
func inFork(to *unix.RawSockaddrInet4, connects bool) {
	for !connects {
		_, _, _ = syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
	fd, _, errno := syscall.RawSyscall(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0)
	if errno == 0 {
		_, _, errno = syscall.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(to)), unsafe.Sizeof(*to))
	}
	_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
}

func waitFor(pid int) error {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, 0, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && status.ExitStatus() != 0 {
			err = syscall.Errno(status.ExitStatus())
		}
		return err
	}
}

// runAndConnect has a new process connect.
func runAndConnect(path, addr string) error {
	var requests bytes.Buffer
	in := json.NewEncoder(&requests)
	for _, r := range []request{{Do: "socket", Socket: "s"}, {Do: "connect", Socket: "s", Addr: addr}} {
		if err := in.Encode(r); err != nil {
			return err
		}
	}
	cmd := exec.Command(path)
	cmd.Stdin = &requests
	output, err := cmd.Output()
	if err != nil {
		return err
	}
	answers := json.NewDecoder(bytes.NewReader(output))
	for answers.More() {
		var answer response
		if err := answers.Decode(&answer); err != nil {
			return err
		}
		if answer.Error != "" {
			return errors.New(answer.Error)
		}
	}
	return nil
}

// connectMany connects again and again without the runtime in between.
func connectMany(addr string, times int) error {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	at := &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	for range times {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		err = errors.Join(
			unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
			connect(fd, at), unix.Close(fd))
		if err != nil {
			return err
		}
	}
	return nil
}

// keepOnlyCapability drops every effective capability of the calling thread but
// one, or all when it is negative.
func keepOnlyCapability(number int) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if number >= 0 {
		bit := uint32(1) << (number % 32)
		data[number/32] = unix.CapUserData{Effective: bit, Permitted: bit}
	}
	return unix.Capset(&header, &data[0])
}

// rawSocket is a file descriptor as a syscall.RawConn.
type rawSocket int

func (s rawSocket) Control(f func(fd uintptr)) error    { f(uintptr(s)); return nil }
func (s rawSocket) Read(func(fd uintptr) bool) error    { return errors.ErrUnsupported }
func (s rawSocket) Write(f func(fd uintptr) bool) error { return errors.ErrUnsupported }

// rawConn is a descriptor as a syscall.Conn.
type rawConn struct{ socket rawSocket }

func (c rawConn) SyscallConn() (syscall.RawConn, error) { return c.socket, nil }
