package operator

import (
	"encoding/base64"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/token"
)

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func TestBase(t *testing.T) {
	cases := map[string]struct {
		base     string
		insecure bool
		want     string // or "" for an error
	}{
		"https":                  {"https://id.example.org/operator", false, "https://id.example.org/operator"},
		"slash at the end":       {"https://id.example.org/operator/", false, "https://id.example.org/operator"},
		"no path":                {"https://id.example.org", false, "https://id.example.org"},
		"http to 127.0.0.1":      {"http://127.0.0.1:8700/operator", false, "http://127.0.0.1:8700/operator"},
		"http to 127.1.2.3":      {"http://127.1.2.3/operator", false, "http://127.1.2.3/operator"},
		"http to ::1":            {"http://[::1]:8700/operator", false, "http://[::1]:8700/operator"},
		"http to localhost":      {"http://localhost:8700/operator", false, "http://localhost:8700/operator"},
		"http elsewhere":         {"http://id.example.org/operator", false, ""},
		"http to an address":     {"http://10.0.0.1/operator", false, ""},
		"http to 0.0.0.0":        {"http://0.0.0.0/operator", false, ""},
		"http to a lookalike":    {"http://localhost.example.org/operator", false, ""},
		"http to 127 in a name":  {"http://127.0.0.1.example.org/operator", false, ""},
		"http, allowed insecure": {"http://id.example.org/operator", true, "http://id.example.org/operator"},
		"another scheme":         {"ftp://id.example.org", true, ""},
		"no scheme":              {"id.example.org/operator", false, ""},
		"no host":                {"https:///operator", false, ""},
		"user":                   {"https://u:p4ssw0rd@id.example.org", false, ""},
		"user, broken":           {"https://u:p4ssw0rd@id.example.org:x", false, ""},
		"slash in the password":  {"https://u:p4ssw0rd/@id.example.org", false, ""},
		"query":                  {"https://id.example.org/operator?x=1", false, ""},
		"fragment":               {"https://id.example.org/operator#x", false, ""},
		"empty":                  {"", false, ""},
	}
	for name, k := range cases {
		t.Run(name, func(t *testing.T) {
			c, err := New(Config{Base: k.base, AllowInsecure: k.insecure, StateDir: "/nowhere"})
			if k.want == "" {
				if err == nil {
					t.Fatal("accepted")
				}
				if strings.Contains(err.Error(), "p4ssw0rd") {
					t.Errorf("error %q holds the password", err)
				}
				return
			}
			if err != nil || c.config.Base != k.want {
				t.Errorf("base %v, error %v; want %q", c, err, k.want)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	writeFile(t, empty, "nothing")
	for name, config := range map[string]Config{
		"relative state folder": {Base: "https://a", StateDir: "state"},
		"no state folder":       {Base: "https://a"},
		"missing CA file":       {Base: "https://a", StateDir: "/nowhere", CAFile: "/nonexistent/ca.pem"},
		"CA file without any":   {Base: "https://a", StateDir: "/nowhere", CAFile: empty},
	} {
		if _, err := New(config); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestPrivateCA(t *testing.T) {
	a := startAuthority(t)
	server := httptest.NewUnstartedServer(a)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of clients that do not trust it
	server.StartTLS()
	defer server.Close()
	a.set(func() { a.base = server.URL + "/operator" })
	config := configure(t, a)
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1") // nobody is there, and nobody asks
	t.Setenv("NO_PROXY", "")

	_, err := newClient(t, config).Fetch(t.Context(), request)
	wantError(t, err, token.ErrUnreachable, "LANYARD_CA_FILE")

	config.StateDir += "-2"
	config.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	writeFile(t, config.CAFile, string(pem.EncodeToMemory(block)))
	fetch(t, newClient(t, config))
}

func TestNoProxyFromTheEnvironment(t *testing.T) {
	transport := newTransport(nil, DefaultTimeout)
	if transport.Proxy != nil {
		t.Error("uses a proxy")
	}
	c := newClient(t, Config{Base: "https://a", StateDir: "/nowhere"})
	if err := c.caller.client.CheckRedirect(nil, nil); err != http.ErrUseLastResponse {
		t.Errorf("redirects: %v", err)
	}
}
