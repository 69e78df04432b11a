//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/test/lab"
)

// Behind the proxies: what answers who may pass, and the API that sees who calls.
const (
	verifyAddress = "127.0.0.1:8701"
	backendPort   = "8090"
)

var backendAddr = netip.MustParseAddr("127.0.0.1")

// proxies are reverse proxies with their documented way to ask somebody else. Each
// listens where the ledger is.
var proxies = map[string]func(w *world) *exec.Cmd{
	"nginx": func(w *world) *exec.Cmd {
		config := w.write("nginx.conf", fmt.Sprintf(`
daemon off;
user root;
pid %[1]s/nginx.pid;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/nginx.body;
	proxy_temp_path %[1]s/nginx.proxy;
	fastcgi_temp_path %[1]s/nginx.fastcgi;
	uwsgi_temp_path %[1]s/nginx.uwsgi;
	scgi_temp_path %[1]s/nginx.scgi;
	server {
		listen %[2]s:%[3]s;
		location = /verify {
			internal;
			proxy_pass http://%[4]s;
			proxy_pass_request_body off;
			proxy_set_header Content-Length "";
		}
		location / {
			auth_request /verify;
			auth_request_set $workload $upstream_http_x_lanyard_workload;
			auth_request_set $tags $upstream_http_x_lanyard_tags;
			proxy_set_header X-Lanyard-Workload $workload;
			proxy_set_header X-Lanyard-Tags $tags;
			proxy_pass http://%[5]s:%[6]s;
		}
	}
}
`, w.folder, ledgerV4, port, verifyAddress, backendAddr, backendPort))
		return exec.Command("nginx", "-c", config, "-e", w.path("nginx.log"))
	},
	"caddy": func(w *world) *exec.Cmd {
		config := w.write("Caddyfile", fmt.Sprintf(`
{
	admin off
	auto_https off
}
http://:%[2]s {
	bind %[1]s
	forward_auth %[3]s {
		uri /
		copy_headers X-Lanyard-Workload X-Lanyard-Tags
	}
	reverse_proxy %[4]s:%[5]s
}
`, ledgerV4, port, verifyAddress, backendAddr, backendPort))
		cmd := exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", config)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.folder, "XDG_DATA_HOME=" + w.folder, "XDG_CONFIG_HOME=" + w.folder}
		return cmd
	},
}

// A program with an identity gets through a real proxy to an API that knows nothing
// of tokens, and the API learns who it is; whatever the program says of itself in
// the same fields is overwritten. Everybody else is stopped at the proxy.
func TestForwardAuth(t *testing.T) {
	for name, command := range proxies {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.dns.Set(ledgerHost, ledgerV4)
			w.startAuthority()
			w.createTicket("ticket", "--max-uses", "1", "--tag", "eyes")
			w.startVerify()
			w.serve(backendPort, http.HandlerFunc(func(out http.ResponseWriter, q *http.Request) {
				fmt.Fprintf(out, "%s: workload %q, tags %q\n", marker, q.Header["X-Lanyard-Workload"], q.Header["X-Lanyard-Tags"])
			}), backendAddr)
			proxy := startProcess(t, lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}, name, command(w))
			proxy.WaitUntil(t, waitLimit, func() error {
				status, body, err := w.get("http://" + ledgerV4.String() + ":" + port + "/")
				if err == nil && status != http.StatusUnauthorized {
					err = fmt.Errorf("without a token the proxy answers %d: %s", status, body)
				}
				return err
			})
			w.startAgent(w.config(curlConfig))
			output, err := w.curl("-H", "X-Lanyard-Workload: pr1:forged", "-H", "X-Lanyard-Tags: admin", ledgerURL+"/any/path?q=1")
			if err != nil || !strings.Contains(output, marker+`: workload ["pr1:`) || !strings.Contains(output, `tags ["eyes"]`) || strings.Contains(output, "forged") {
				t.Errorf("curl with an identity: %v\n%s", err, output)
			}
			output, err = w.run("wget", "--quiet", "--server-response", "--tries=1", "--output-document=-",
				"--header=X-Lanyard-Workload: pr1:forged", ledgerURL+"/")
			if err == nil || !strings.Contains(output, "401") || strings.Contains(output, marker) {
				t.Errorf("wget, which has none: %v\n%s", err, output)
			}
		})
	}
}

// startVerify answers proxies that ask.
func (w *world) startVerify() {
	w.t.Helper()
	cmd := exec.Command(lanyard(w.t), "verify", "--listen", verifyAddress, "--audience", ledgerAudience)
	cmd.Env = w.serviceEnv("LANYARD_AUTHORITY_URL=" + authorityURL)
	p := startProcess(w.t, lab.Place{Cgroup: w.services, Net: w.net, Files: w.files}, "verify", cmd)
	p.WaitUntil(w.t, waitLimit, func() error {
		status, _, err := w.get("http://" + verifyAddress + "/")
		if err == nil && status != http.StatusUnauthorized {
			err = fmt.Errorf("without a token it answers %d", status)
		}
		return err
	})
}
