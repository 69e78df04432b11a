//go:build linux

package attack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/lanyardhq/lanyard/bpf"
	"github.com/lanyardhq/lanyard/internal/verify"
	"github.com/lanyardhq/lanyard/test/lab"
)

// waitLimit bounds every wait for a condition. It is generous: machines that run
// tests are small and shared.
const waitLimit = 30 * time.Second

const (
	authorityURL = "http://127.0.0.1:8700"
	ledgerHost   = "ledger.test"
	audience     = "http://ledger.test:8080"
	victimUser   = 40010
	strangerUser = 40020
	// Few, so that a port which somebody leaves is soon another's.
	firstPort, lastPort = 40000, 40031
)

var (
	ledgerV4 = netip.MustParseAddrPort("10.98.0.10:8080")
	ledgerV6 = netip.MustParseAddrPort("[fd98::10]:8080")
	local    = []string{"127.0.0.1:3013", "[::1]:3013"}
)

const config = `
identities:
  - name: victim
    match: {exe: VICTIM, any_user: true}
    local_api: true
    source: {operator: {ticket_file: FOLDER/ticket}}
destinations:
  - name: ledger
    hosts: [ledger.test]
    ports: [8080]
    audience: http://ledger.test:8080
    identities: [victim]
`

// world is a host of the test's own with the product on it.
type world struct {
	folder                      string
	net                         *lab.NetNS
	files                       map[string]string
	services, programs, outside *lab.Cgroup // what the product runs in, what it watches, and neither
	bpffs                       string
	http                        *http.Client
	agent                       *lab.Process
	judge                       *judge
	injectors                   []string // the addresses of the injector's listeners that the victim's connections come to
}

// newWorld starts authority, agent and the server that judges. The kernel's settings
// for the network are made before.
func newWorld(t *testing.T, sysctls map[string]string) *world {
	t.Helper()
	w := newHost(t, sysctls)
	w.startAgent(t)
	return w
}

// newHost is a world whose agent does not run yet.
func newHost(t *testing.T, sysctls map[string]string) *world {
	t.Helper()
	lab.RequireRoot(t)
	if err := build(); err != nil {
		t.Fatal(err)
	}
	w := &world{folder: t.TempDir(), net: lab.NewNetNS(t), bpffs: lab.NewAgentBPFFS(t)}
	w.net.AddLocal(t, "10.98.0.2/32", "fd98::2/128", ledgerV4.Addr().String()+"/32", ledgerV6.Addr().String()+"/128")
	dns := lab.StartDNS(t, w.net, netip.MustParseAddr("127.0.0.1"))
	dns.Set(ledgerHost, ledgerV4.Addr(), ledgerV6.Addr())
	w.files = dns.Files(t)
	cgroup := lab.NewCgroup(t)
	w.services, w.programs, w.outside = cgroup.Sub(t, "services"), cgroup.Sub(t, "programs"), cgroup.Sub(t, "outside")
	w.http = &http.Client{Transport: &http.Transport{DialContext: w.dial, DisableKeepAlives: true}, Timeout: waitLimit}
	w.set(t, map[string]string{
		"ipv4/tcp_tw_reuse": "1",
		// A SYN that finds a full queue is sent again each second, not ever later.
		"ipv4/tcp_syn_linear_timeouts": "60",
	})
	w.set(t, sysctls)
	w.startAuthority(t)
	w.startJudge(t)
	return w
}

// set changes the kernel's settings of this world's network, as far as this kernel
// has them.
func (w *world) set(t *testing.T, sysctls map[string]string) {
	t.Helper()
	for name, value := range sysctls {
		err := w.net.Do(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

func (w *world) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = w.net.Do(func() error {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

func (w *world) service() lab.Place {
	return lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}
}

// command is one of the product's, unstarted.
func (w *world) command(arguments ...string) *exec.Cmd {
	cmd := exec.Command(lanyard(), arguments...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.folder, "LANYARD_LOG_LEVEL=info",
		"LANYARD_DATA_DIR=" + filepath.Join(w.folder, "authority"),
		"LANYARD_ADMIN_TOKEN_FILE=" + filepath.Join(w.folder, "authority/admin-token"),
		"LANYARD_BPFFS=" + w.bpffs, "LANYARD_INSTANCE=attack", "LANYARD_STATE_DIR=" + filepath.Join(w.folder, "agent"),
		"LANYARD_LOCAL_SOCKET=off", "LANYARD_AUTHORITY_URL=" + authorityURL,
	}
	return cmd
}

func (w *world) waitReady(t *testing.T, p *lab.Process, url string) {
	t.Helper()
	p.WaitUntil(t, waitLimit, func() error {
		response, err := w.http.Get(url)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s answers %d", url, response.StatusCode)
		}
		return nil
	})
}

func (w *world) startAuthority(t *testing.T) {
	t.Helper()
	authority := lab.StartProcess(t, w.service(), waitLimit, "authority", w.command("authority"))
	w.waitReady(t, authority, authorityURL+"/readyz")
	output, err := w.service().Output(w.command("ticket", "create", "-o", "json", "--max-uses", "1"))
	var made struct{ Ticket string }
	if err == nil {
		err = json.Unmarshal([]byte(output), &made)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(w.folder, "ticket"), []byte(made.Ticket), 0o600)
	}
	if err != nil {
		t.Fatalf("create ticket: %v\n%s", err, output)
	}
}

func (w *world) startJudge(t *testing.T) {
	t.Helper()
	verifier, err := verify.New(t.Context(), verify.Config{
		KeysURL: authorityURL + "/operator/.well-known/jwks.json", Audience: audience, Client: w.http,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(verifier.Close)
	w.judge = newJudge(verifier)
	server := &http.Server{Handler: w.judge, ReadHeaderTimeout: waitLimit}
	for _, at := range []netip.AddrPort{ledgerV4, ledgerV6} {
		var listener net.Listener
		err := w.net.Do(func() (err error) {
			listener, err = net.Listen("tcp", at.String())
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.Serve(listener) // until it is closed
		}()
		t.Cleanup(func() {
			_ = server.Close()
			<-done
		})
	}
}

func (w *world) startAgent(t *testing.T) {
	t.Helper()
	path := filepath.Join(w.folder, "agent.yaml")
	content := strings.NewReplacer("VICTIM", victim(), "FOLDER", w.folder).Replace(config)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	w.agent = lab.StartProcess(t, w.service(), waitLimit, "agent", w.command("agent", "--config", path, "--cgroup", w.programs.Path))
	w.waitReady(t, w.agent, "http://127.0.0.1:3014/readyz")
	w.injectors = w.victimsListeners(t)
}

// victimsListeners returns the addresses of the injector's listeners on which the
// victim's connections arrive: those of the only identity.
func (w *world) victimsListeners(t *testing.T) []string {
	t.Helper()
	m := w.kernelMap(t, "readiness_by_netns")
	defer func() { _ = m.Close() }()
	v4, v6 := lab.InjectorListeners(t, m, w.net, w.agent.Cmd.Process.Pid)
	return []string{v4[0].String(), v6[0].String()}
}

// kernelMap opens a map of the agent's.
func (w *world) kernelMap(t *testing.T, name string) *ebpf.Map {
	t.Helper()
	return lab.PinnedMap(t, w.bpffs, "attack", name)
}

// allowDirect switches the kernel's refusal of connections that strangers make to
// the injector off, or on.
func (w *world) allowDirect(t *testing.T, allowed bool) {
	t.Helper()
	m := w.kernelMap(t, "settings_now")
	defer func() { _ = m.Close() }()
	var settings bpf.ConnectSettings
	if err := m.Lookup(uint32(0), &settings); err != nil {
		t.Fatal(err)
	}
	settings.Flags &^= bpf.ConnectSettingFlagDIRECT_ALLOWED
	if allowed {
		settings.Flags |= bpf.ConnectSettingFlagDIRECT_ALLOWED
	}
	if err := m.Put(uint32(0), &settings); err != nil {
		t.Fatal(err)
	}
}

// as is a place for a program of an unprivileged user.
func (w *world) as(user uint32, cgroup *lab.Cgroup) lab.Place {
	return lab.Place{Cgroup: cgroup, Net: w.net, User: &syscall.Credential{Uid: user, Gid: user}}
}

func ports() []string {
	return []string{"-low", strconv.Itoa(firstPort), "-high", strconv.Itoa(lastPort)}
}
