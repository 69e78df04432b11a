//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/test/clients"
	"github.com/lanyardhq/lanyard/test/lab"
)

// The world's names and addresses. It has no route to anywhere else.
const (
	ledgerHost = "ledger.test"  // the protected API's name
	port       = "8080"         // of every API
	localV4    = "10.98.0.2/32" // makes IPv4 and IPv6 routable
	localV6    = "fd98::2/128"
)

var (
	ledgerV4 = netip.MustParseAddr("10.98.0.10")
	ledgerV6 = netip.MustParseAddr("fd98::10")
	otherV4  = netip.MustParseAddr("10.98.0.66") // a server that is not the ledger
	nameAddr = netip.MustParseAddr("127.0.0.1")  // of the name server
)

// world is a host of the test's own: network, cgroups, BPF file system, names,
// and the product's processes on it.
type world struct {
	t        *testing.T
	folder   string
	net      *lab.NetNS
	dns      *lab.DNS
	files    map[string]string // what /etc looks like
	services *lab.Cgroup       // the product's own processes
	programs *lab.Cgroup       // what the agent watches
	bpffs    string
	instance string
	http     *http.Client // reaches into the world

	authority    process
	authorityEnv []string // settings of the authority
	// adminTokenFile is that of the administrator, if not the first one's.
	adminTokenFile string
	agent          process
	agentEnv       []string // further settings of the agent
}

// newWorld makes a world with a name server that knows the ledger, and nothing
// else running.
func newWorld(t *testing.T) *world {
	t.Helper()
	lab.RequireRoot(t)
	w := &world{t: t, folder: t.TempDir(), net: lab.NewNetNS(t), bpffs: lab.NewAgentBPFFS(t), instance: "e2e"}
	w.net.AddLocal(t, localV4, localV6, ledgerV4.String()+"/32", ledgerV6.String()+"/128", otherV4.String()+"/32")
	w.dns = lab.StartDNS(t, w.net, nameAddr)
	w.dns.Set(ledgerHost, ledgerV4, ledgerV6)
	w.files = w.dns.Files(t)
	cgroup := lab.NewCgroup(t)
	w.services, w.programs = cgroup.Sub(t, "services"), cgroup.Sub(t, "programs")
	transport := &http.Transport{DialContext: w.dial, DisableKeepAlives: true}
	w.http = &http.Client{Transport: transport, Timeout: waitLimit}
	return w
}

// dial connects from inside the world.
func (w *world) dial(_ context.Context, network, address string) (conn net.Conn, err error) {
	err = w.net.Do(func() error {
		conn, err = net.DialTimeout(network, address, waitLimit)
		return err
	})
	return conn, err
}

// listen makes a listener inside the world.
func (w *world) listen(address netip.Addr, port string) net.Listener {
	w.t.Helper()
	var listener net.Listener
	err := w.net.Do(func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(address.String(), port))
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return listener
}

// serve runs an HTTP server inside the world until the test ends.
func (w *world) serve(port string, handler http.Handler, addresses ...netip.Addr) {
	w.t.Helper()
	server := &http.Server{Handler: handler, ReadHeaderTimeout: waitLimit}
	for _, address := range addresses {
		listener := w.listen(address, port)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(listener) // ends when the server is closed
		}()
		w.t.Cleanup(func() {
			server.Close()
			<-done
		})
	}
}

// serviceEnv is the environment of the product's processes.
func (w *world) serviceEnv(more ...string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.folder, "LANYARD_LOG_LEVEL=debug",
		"LANYARD_DATA_DIR=" + filepath.Join(w.folder, "authority"),
		"LANYARD_ADMIN_TOKEN_FILE=" + w.path("authority/admin-token"),
	}, more...)
}

// path is a path in the world's folder.
func (w *world) path(name string) string { return filepath.Join(w.folder, name) }

// write puts a file into the world's folder.
func (w *world) write(name, content string) string {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return w.path(name)
}

// command runs a command of the product to its end, inside the world.
func (w *world) command(arguments ...string) (output string, err error) {
	w.t.Helper()
	cmd := exec.Command(lanyard(w.t), arguments...)
	cmd.Env = w.serviceEnv()
	if w.adminTokenFile != "" {
		cmd.Env = append(cmd.Env, "LANYARD_ADMIN_TOKEN_FILE="+w.adminTokenFile)
	}
	return lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}.Output(cmd)
}

// place is where programs run that the agent watches.
func (w *world) place() lab.Place {
	return lab.Place{Cgroup: w.programs, Net: w.net, Files: w.files}
}

// run runs a program that the agent watches.
func (w *world) run(command ...string) (output string, err error) {
	w.t.Helper()
	return w.runAt(w.place(), command...)
}

func (w *world) runAt(place lab.Place, command ...string) (output string, err error) {
	w.t.Helper()
	return place.Output(w.program(command...))
}

// program is a command in the environment of the clients.
func (w *world) program(command ...string) *exec.Cmd {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), waitLimit)
	w.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = clients.Environment(w.folder)
	return cmd
}

// get asks a server inside the world for a path and returns status and body.
func (w *world) get(url string) (status int, body string, err error) {
	response, err := w.http.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, string(content), err
}

// getOK is an error until the URL answers with 200.
func (w *world) getOK(url string) error {
	status, body, err := w.get(url)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s answers %d: %s", url, status, strings.TrimSpace(body))
	}
	return err
}

// exitCode is the status a finished command ended with.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}
