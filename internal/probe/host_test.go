//go:build linux

package probe

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/lanyardhq/lanyard/internal/workload"
	"github.com/lanyardhq/lanyard/test/lab"
)

const (
	// waitLimit bounds every wait of these tests; an emulated machine is slow.
	waitLimit = 30 * time.Second
	// quiet is how long a test waits for what must not happen.
	quiet = 50 * time.Millisecond

	watched   = 8080
	unwatched = 8081

	target4 = "10.98.0.1"
	target6 = "fd98::1"
)

// host is a host of the test's own: a cgroup that the hooks are attached to, a
// network namespace with one address of each family beside loopback, and an agent
// that watches a port.
type host struct {
	*agent
	cgroup *lab.Cgroup
	net    *lab.NetNS
	config Config
}

// kernelTypes is read once for all tests: an emulated machine takes a second for it.
var kernelTypes = btf.NewCache()

// newBareHost makes a host without an agent.
func newBareHost(t testing.TB) *host {
	t.Helper()
	return newBareHostIn(t, lab.NewCgroup(t))
}

// newBareHostIn makes a host of a cgroup that the test has.
func newBareHostIn(t testing.TB, cgroup *lab.Cgroup) *host {
	t.Helper()
	h := &host{cgroup: cgroup, net: lab.NewNetNS(t)}
	h.config = Config{Cgroup: h.cgroup.Path, BPFFS: lab.NewBPFFS(t), Instance: "test", Connections: 10_000, types: kernelTypes}
	h.net.AddLocal(t, target4+"/32", target6+"/128")
	return h
}

// newHost makes a host with an agent that runs and watches a port for everyone.
func newHost(t testing.TB) *host {
	t.Helper()
	return newHostIn(t, lab.NewCgroup(t))
}

func newHostIn(t testing.TB, cgroup *lab.Cgroup) *host {
	t.Helper()
	h := newBareHostIn(t, cgroup)
	h.startAgent(t)
	must(t, h.listen(h.net.Do))
	h.run()
	must(t, h.probe.beat())
	h.watch(t, everyone(watched))
	return h
}

// startAgent opens the probe; whatever agent the host has at the end is closed.
func (h *host) startAgent(t testing.TB) {
	t.Helper()
	first := h.agent == nil
	a, err := openAgent(h.config, h.net.Do)
	if err != nil {
		t.Fatal(err)
	}
	h.agent = a
	if first {
		t.Cleanup(func() { must(t, h.close()) })
	}
}

func (h *host) watch(t testing.TB, w workload.Watch) {
	t.Helper()
	must(t, h.probe.Apply(w, func() {}))
}

// counts returns by how much each kernel counter rose while f ran.
func (h *host) counts(t testing.TB, f func()) map[string]uint64 {
	t.Helper()
	before, err := h.probe.Counters()
	must(t, err)
	f()
	after, err := h.probe.Counters()
	must(t, err)
	for name := range after {
		if after[name] -= before[name]; after[name] == 0 {
			delete(after, name)
		}
	}
	return after
}

// serve answers each connection to an address with a word.
func (h *host) serve(t testing.TB, address, greeting string) *net.TCPListener {
	t.Helper()
	listener, err := listenTCP(h.net.Do, address)
	must(t, err)
	h.greet(t, listener, greeting)
	return listener
}

// greet answers each connection at a listener with a word.
func (h *host) greet(t testing.TB, listener net.Listener, greeting string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte(greeting))
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
}

// accept takes the next connection at a listener of the injector.
func accept(t testing.TB, listener *net.TCPListener) (net.Conn, netip.AddrPort) {
	t.Helper()
	must(t, listener.SetDeadline(time.Now().Add(waitLimit)))
	conn, err := listener.Accept()
	if err != nil {
		t.Fatalf("nothing was redirected: %v", err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, conn.RemoteAddr().(*net.TCPAddr).AddrPort()
}

// claim takes the next redirected connection and its flow.
func (h *host) claim(t testing.TB, family Family) workload.Flow {
	t.Helper()
	conn, from := accept(t, h.listeners[family])
	flow, err := h.probe.Lookup(conn.(*net.TCPConn))
	if err != nil {
		t.Fatalf("flow of %v: %v", from, err)
	}
	h.probe.Release(flow)
	return flow
}

// copyOf returns a copy of this test program under another name: unlike that of
// executable, it is a file of its own, which the kernel can tell.
func copyOf(t testing.TB, name string) string {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	program, err := os.ReadFile(self)
	must(t, err)
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, program, 0o755))
	return path
}

// watchExactly watches for one identity, which is this executable file, and has the
// kernel know it.
func (h *host) watchExactly(t testing.TB, path string, ports ...uint16) workload.Watch {
	t.Helper()
	w := workload.Watch{Conditions: []workload.Condition{{
		Identity: exactIdentity, ExecutableNames: []string{filepath.Base(path)},
		Certain: &workload.Certainty{File: true, Files: []string{path}},
	}}}
	for _, port := range append([]uint16{watched}, ports...) {
		w.Ports = append(w.Ports, workload.WatchedPort{Port: port})
	}
	h.watch(t, w)
	must(t, h.probe.learnPaths())
	return w
}

const exactIdentity = "exact"

// requireNoConnection fails if something was redirected to the injector.
func (h *host) requireNoConnection(t testing.TB) {
	t.Helper()
	for family, listener := range h.listeners {
		must(t, listener.SetDeadline(time.Now().Add(quiet)))
		conn, err := listener.Accept()
		if err == nil {
			conn.Close()
			t.Errorf("family %d: a connection from %v was redirected", family, conn.RemoteAddr())
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
}

// process is a client process, seen from the test.
type process struct {
	cmd *exec.Cmd
	in  *json.Encoder
	out *json.Decoder

	output *os.File
}

// start starts a client whose executable has this name, in the host's cgroup and
// network namespace.
func (h *host) start(t testing.TB, name string) *process {
	t.Helper()
	return h.startIn(t, executable(t, name), lab.Place{Cgroup: h.cgroup, Net: h.net})
}

func (h *host) startIn(t testing.TB, path string, place lab.Place) *process {
	t.Helper()
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), childMarker+"=1")
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	must(t, err)
	output, theirs, err := os.Pipe()
	must(t, err)
	cmd.Stdout = theirs
	must(t, place.Start(cmd))
	theirs.Close()
	p := &process{cmd: cmd, in: json.NewEncoder(input), out: json.NewDecoder(output), output: output}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		output.Close()
	})
	p.receive(t)
	return p
}

// receive reads the next response. A client that hangs fails the test.
func (p *process) receive(t testing.TB) response {
	t.Helper()
	must(t, p.output.SetReadDeadline(time.Now().Add(waitLimit)))
	var answer response
	if err := p.out.Decode(&answer); err != nil {
		t.Fatalf("the client does not answer: %v", err)
	}
	return answer
}

func (p *process) try(t testing.TB, r request) response {
	t.Helper()
	must(t, p.in.Encode(r))
	return p.receive(t)
}

func (p *process) do(t testing.TB, r request) response {
	t.Helper()
	answer := p.try(t, r)
	if answer.Error != "" {
		t.Fatalf("client: %s", answer.Error)
	}
	return answer
}

// batch is how often a client does at most what one request asks for: an emulated
// machine answers in time, too.
const batch = 100

// doMany has the client do r.Number times what it is asked for, and returns the sums of
// what it counted.
func (p *process) doMany(t testing.TB, r request) map[string]int {
	t.Helper()
	sums := map[string]int{}
	for left := r.Number; left > 0; left -= batch {
		r.Number = min(left, batch)
		for what, n := range p.do(t, r).Counts {
			sums[what] += n
		}
	}
	return sums
}

// socket makes a TCP socket of the family that fits the address.
func (p *process) socket(t testing.TB, name, addr string) {
	t.Helper()
	number := 4
	if strings.HasPrefix(addr, "[") {
		number = 6
	}
	p.do(t, request{Do: "socket", Socket: name, Number: number})
}

// connect connects a new socket and returns how it went.
func (p *process) connect(t testing.TB, addr string) response {
	t.Helper()
	p.socket(t, "s", addr)
	return p.try(t, request{Do: "connect", Socket: "s", Addr: addr})
}

// exec makes the process another executable.
func (p *process) exec(t testing.TB, how, path string) {
	t.Helper()
	must(t, p.in.Encode(request{Do: how, Path: path}))
	if hello := p.receive(t); hello.Error != "" {
		t.Fatalf("client: %s", hello.Error)
	}
}

func (p *process) pid() uint32 { return uint32(p.cmd.Process.Pid) }

// end ends the process and waits for it.
func (p *process) end(t testing.TB) {
	t.Helper()
	must(t, p.cmd.Process.Kill())
	_ = p.cmd.Wait()
}

// executable returns this test program under another name.
func executable(t testing.TB, name string) string {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	path := filepath.Join(t.TempDir(), name)
	if os.Link(self, path) == nil {
		return path
	}
	from, err := os.Open(self) // in another file system
	must(t, err)
	defer from.Close()
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	must(t, err)
	_, err = io.Copy(to, from)
	must(t, errors.Join(err, to.Close()))
	return path
}

// startTimeTicks reads when a process started, in clock ticks since boot.
func startTimeTicks(t testing.TB, pid uint32) uint64 {
	t.Helper()
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(int(pid)), "stat"))
	must(t, err)
	_, after, _ := strings.Cut(string(stat), ") ")
	ticks, err := strconv.ParseUint(strings.Fields(after)[19], 10, 64)
	must(t, err)
	return ticks
}

func requireErrno(t testing.TB, what string, got response, want syscall.Errno) {
	t.Helper()
	if got.Errno != want || want == 0 && got.Error != "" {
		t.Errorf("%s: errno %d (%s), want %d (%v)", what, got.Errno, got.Error, want, want)
	}
}

func requireCount(t testing.TB, counts map[string]uint64, name string, want uint64) {
	t.Helper()
	if counts[name] != want {
		t.Errorf("the kernel counted %d %s, want %d; all: %v", counts[name], name, want, counts)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// at writes an address with the watched port.
func at(address string) string { return net.JoinHostPort(address, strconv.Itoa(watched)) }

// unmapped reads an address, IPv4-mapped or not, into its unmapped form.
func unmapped(t testing.TB, text string) netip.AddrPort {
	t.Helper()
	addr, err := netip.ParseAddrPort(text)
	must(t, err)
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}
