//go:build linux

package attack

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

// A stranger had sockets with the local API's address before the agent listened there, and
// tries to have some afterwards. While one has the address, the agent says that it does
// not; once the agent has it, whoever asks there reaches the agent, and its key nobody else.
func TestAddressHeldBeforeTheAgent(t *testing.T) {
	const key = "the-key-of-the-local-api"
	for name, hooked := range map[string]bool{"hooked": true, "unhooked": false} {
		t.Run(name, func(t *testing.T) {
			w := newHost(t, nil)
			cgroup := w.outside
			if hooked {
				cgroup = w.programs
			}
			first := w.startStrangersBefore(t, cgroup)
			if strings.Contains(first.Output(), "cannot") {
				t.Fatal("the strangers do not have the address, of which they were the first")
			}
			w.startAgent(t)
			if n := w.localListeners(t); n != 0 {
				t.Errorf("the agent listens at %d addresses that a stranger has", n)
			}
			for _, at := range local {
				if reason := fmt.Sprintf("degraded: local_api %s: ", at); !strings.Contains(w.readiness(t), reason) {
					t.Errorf("/readyz does not say %q", reason)
				}
			}
			first.Kill()
			w.agent.WaitUntil(t, waitLimit, func() error {
				if n := w.localListeners(t); n < len(local) {
					return fmt.Errorf("the agent listens at %d addresses of the local API", n)
				}
				return nil
			})
			second := w.startStrangersBefore(t, cgroup)
			answered, forged := 0, 0
			for i := range 4 {
				for _, to := range local {
					switch w.ask(t, netip.MustParseAddrPort(to), firstPort+i, key) {
					case "forged":
						forged++
					case "":
					default:
						answered++
					}
				}
			}
			keys := strings.Count(first.Output()+second.Output(), key)
			had := len(local)*(lastPort-firstPort+1) - strings.Count(second.Output(), "cannot address already in use\n")
			t.Logf("counts: of 8 requests to the local API %d were answered by the agent and %d by a stranger, who had %d sockets there and read %d keys",
				answered, forged, had, keys)
			if answered != 8 || forged+keys+had > 0 {
				t.Error("a stranger stood before the agent")
			}
		})
	}
}

// startStrangersBefore starts a program that tries to have the local API's addresses, and
// returns when it has tried.
func (w *world) startStrangersBefore(t *testing.T, cgroup *lab.Cgroup) *lab.Process {
	t.Helper()
	cmd := exec.Command(stranger(), append(w.surroundings(), "-attack", "before")...)
	strangers := lab.StartProcess(t, w.as(strangerUser, cgroup), waitLimit, "strangers", cmd)
	strangers.WaitUntil(t, waitLimit, func() error {
		if !strings.Contains(strangers.Output(), "running") {
			return io.ErrNoProgress
		}
		return nil
	})
	return strangers
}

// localListeners counts the local API's addresses at which the agent listens.
func (w *world) localListeners(t *testing.T) (n int) {
	t.Helper()
	for _, at := range lab.Listeners(t, w.agent.Cmd.Process.Pid) {
		if slices.Contains(local, at.String()) {
			n++
		}
	}
	return n
}

func (w *world) readiness(t *testing.T) string {
	t.Helper()
	response, err := w.http.Get("http://127.0.0.1:3014/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// ask asks the local API from this port, and returns what is answered.
func (w *world) ask(t *testing.T, to netip.AddrPort, port int, key string) string {
	t.Helper()
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(to.Addr(), uint16(port)))}
	client := &http.Client{Timeout: waitLimit, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			_ = w.net.Do(func() error { conn, err = dialer.DialContext(ctx, network, address); return err })
			return conn, err
		},
	}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+to.String()+"/v1/token", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := client.Do(request)
	if err != nil {
		t.Logf("ask the local API: %v", err)
		return ""
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Logf("read the answer of the local API: %v", err)
	}
	return string(body)
}
