//go:build linux

package clients_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/test/clients"
)

// TestClients shows that each client prints the answer it gets, over both
// families, and fails where it is refused.
func TestClients(t *testing.T) {
	const marker = "marker-7d1f"
	all := clients.Install(t, t.TempDir())
	servers := map[string]http.Handler{
		"answered": clients.Answer(marker),
		"refused": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, marker, http.StatusUnauthorized)
		}),
	}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		for outcome, handler := range servers {
			base := serve(t, address, handler)
			for _, client := range all {
				t.Run(strings.Join([]string{client.Name, outcome, address[:strings.LastIndex(address, ":")]}, "/"), func(t *testing.T) {
					command := client.Command(base)
					cmd := exec.Command(command[0], command[1:]...)
					cmd.Env = clients.Environment(t.TempDir())
					output, err := cmd.CombinedOutput()
					if answered := err == nil && strings.Contains(string(output), marker); answered != (outcome == "answered") {
						t.Errorf("%q: %v\n%s", command, err, output)
					}
				})
			}
		}
	}
	for _, client := range all {
		if path := client.Executable(t); !strings.HasPrefix(path, "/") {
			t.Errorf("executable of %s is %q, want a path", client.Name, path)
		}
	}
}

func serve(t *testing.T, address string, handler http.Handler) (base string) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}
