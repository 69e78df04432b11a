package authority

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/test/certificates"
)

func TestARestartKeepsEverything(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{MaxUses: 1})
	m := f.enrol(ticket.Ticket)
	operator, keys := f.OperatorID(), f.send("GET", jwksPath, "", nil).body
	f.restart()
	if f.OperatorID() != operator {
		t.Errorf("operator id %s, was %s", f.OperatorID(), operator)
	}
	if got := f.send("GET", jwksPath, "", nil).body; got != keys {
		t.Errorf("keys %s, were %s", got, keys)
	}
	m.idToken(nil).decode(t, 200, &idTokenResponse{})
	f.newMember().register(ticket.Ticket).refused(t, 401)
	if got := f.createTicket(resource.TicketSpec{}); got.Name == "" {
		t.Error("the administrator's token is not good any more")
	}
}

// TestWhatIsOnDisk: security.md 16, 17; only digests of secrets, private files.
func TestWhatIsOnDisk(t *testing.T) {
	f := start(t)
	ticket := f.createTicket(resource.TicketSpec{})
	m := f.enrol(ticket.Ticket)
	idToken := tokenOf(t, m.idToken(nil))
	inviting, _ := f.orchestrator()
	f.declareFactory("ci", resource.TicketFactorySpec{Orchestrators: []string{inviting.id}})
	minted := inviting.mint("ci")
	names := []string{}
	err := filepath.WalkDir(f.config.DataDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if info.Mode().Perm() != 0o700 {
				t.Errorf("%s has mode %04o", path, info.Mode().Perm())
			}
			return nil
		}
		names = append(names, entry.Name())
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %04o", path, info.Mode().Perm())
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for what, secret := range map[string]string{"ticket": ticket.Ticket, "admin token": f.admin, "ID token": idToken, "minted ticket": minted} {
			if strings.Contains(string(content), secret) && (what != "admin token" || entry.Name() != adminTokenFile) {
				t.Errorf("%s holds the %s", path, what)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != 6 { // database with its log and index, key, token, lock
		t.Errorf("files %v", names)
	}
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	good := func(t *testing.T) Config {
		return Config{DataDir: filepath.Join(t.TempDir(), "data"), URL: "http://127.0.0.1:8700"}
	}
	after := func(change func(t *testing.T, c *Config)) func(*testing.T, *Config) {
		return func(t *testing.T, c *Config) {
			a, err := New(*c)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			change(t, c)
		}
	}
	file := func(t *testing.T, mode os.FileMode, content string) string {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := map[string]struct {
		change func(*testing.T, *Config)
		says   string
		config bool
	}{
		"no data folder":    {func(_ *testing.T, c *Config) { c.DataDir = "" }, "LANYARD_DATA_DIR", true},
		"no URL":            {func(_ *testing.T, c *Config) { c.URL = "" }, "LANYARD_AUTHORITY_URL", true},
		"URL of another":    {func(_ *testing.T, c *Config) { c.URL = "ftp://x" }, "LANYARD_AUTHORITY_URL", true},
		"URL without host":  {func(_ *testing.T, c *Config) { c.URL = "http://" }, "LANYARD_AUTHORITY_URL", true},
		"URL with password": {func(_ *testing.T, c *Config) { c.URL = "http://u:hunter2@x" }, "must not have a user", true},
		"URL with query":    {func(_ *testing.T, c *Config) { c.URL = "http://x?a" }, "LANYARD_AUTHORITY_URL", true},
		"URL with wildcard": {func(_ *testing.T, c *Config) { c.URL = "http://x/{a}" }, "LANYARD_AUTHORITY_URL", true},
		"two keys":          {func(_ *testing.T, c *Config) { c.KeyEncryptionKey, c.KeyEncryptionKeyFile = "a", "b" }, "keep one", true},
		"half of TLS":       {func(_ *testing.T, c *Config) { c.TLSCertFile = "a" }, "belong together", true},
		"URL with dots":     {func(_ *testing.T, c *Config) { c.URL = "http://x/a/../b" }, "LANYARD_AUTHORITY_URL", true},
		"URL with a space":  {func(_ *testing.T, c *Config) { c.URL = "http://x/a b" }, "LANYARD_AUTHORITY_URL", true},
		"issuer in clear":   {func(_ *testing.T, c *Config) { c.Issuer = "http://issuer.example" }, "LANYARD_ISSUER", true},
		"issuer no URL":     {func(_ *testing.T, c *Config) { c.Issuer = "op1:x" }, "LANYARD_ISSUER", true},
		"issuer with query": {func(_ *testing.T, c *Config) { c.Issuer = "https://x/?hunter2" }, "LANYARD_ISSUER", true},
		"issuer, fragment":  {func(_ *testing.T, c *Config) { c.Issuer = "https://x/#" }, "LANYARD_ISSUER", true},
		"issuer, wildcard":  {func(_ *testing.T, c *Config) { c.Issuer = "https://x/{a}" }, "LANYARD_ISSUER", true},
		"algorithm":         {func(_ *testing.T, c *Config) { c.SigningAlgorithm = "HS256" }, "LANYARD_SIGNING_ALGORITHM", true},
		"rotation":          {func(_ *testing.T, c *Config) { c.KeyRotation = time.Minute }, "LANYARD_KEY_ROTATION", true},
		"negative rate":     {func(_ *testing.T, c *Config) { c.RatePerSecond = -1 }, "rate limit", true},
		"negative rate, 2":  {func(_ *testing.T, c *Config) { c.WorkloadRateBurst = -1 }, "rate limit", true},
		"read-only folder":  {func(_ *testing.T, c *Config) { c.DataDir = "/sys" }, "must be writable", false},
		"folder in a file":  {func(t *testing.T, c *Config) { c.DataDir = filepath.Join(file(t, 0o600, "x"), "data") }, "LANYARD_DATA_DIR", false},
		"folder of all's": {func(t *testing.T, c *Config) {
			if err := errors.Join(os.Mkdir(c.DataDir, 0o700), os.Chmod(c.DataDir, 0o770)); err != nil {
				t.Fatal(err)
			}
		}, "make data folder: ", false},
		"bad key":            {func(_ *testing.T, c *Config) { c.KeyEncryptionKey = "hunter2" }, "32 bytes in base64", false},
		"key file missing":   {func(_ *testing.T, c *Config) { c.KeyEncryptionKeyFile = "/nowhere" }, "/nowhere", false},
		"key file for all":   {func(t *testing.T, c *Config) { c.KeyEncryptionKeyFile = file(t, 0o644, "hunter2") }, "chmod 600", false},
		"token file of else": {func(t *testing.T, c *Config) { c.AdminTokenFile = file(t, 0o600, "hunter2") }, "LANYARD_ADMIN_TOKEN_FILE", false},
		"token file for all": {func(t *testing.T, c *Config) { c.AdminTokenFile = file(t, 0o644, "lya_"+strings.Repeat("0", 32)) }, "chmod 600", false},
		"key lost": {after(func(t *testing.T, c *Config) {
			if err := os.Remove(filepath.Join(c.DataDir, boxKeyFile)); err != nil {
				t.Fatal(err)
			}
		}), "restore the file from a backup", false},
		"key of another": {after(func(_ *testing.T, c *Config) {
			c.KeyEncryptionKey = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
		}), "not the one it was sealed under", false},
		"folder in use": {func(t *testing.T, c *Config) {
			first, err := New(*c)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = first.Close() })
		}, fmt.Sprintf("process %d uses it; stop that authority first", os.Getpid()), false},
		"damaged database": {after(func(t *testing.T, c *Config) {
			if err := os.WriteFile(filepath.Join(c.DataDir, databaseFile), []byte(strings.Repeat("hunter2 ", 4096)), 0o600); err != nil {
				t.Fatal(err)
			}
		}), "damaged", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := good(t)
			tt.change(t, &c)
			a, err := New(c)
			if err == nil {
				_ = a.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "hunter2") || errors.Is(err, ErrConfig) != tt.config {
				t.Errorf("error %q, want %q, of configuration: %v", err, tt.says, tt.config)
			}
		})
	}
}

// TestAFirstStartCutShort: the token was written, the database did not learn of it.
func TestAFirstStartCutShort(t *testing.T) {
	secret := "lya_" + strings.Repeat("7", 32)
	f := start(t, func(c *Config) {
		c.AdminTokenFile = filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(c.AdminTokenFile, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	if f.admin != secret {
		t.Error("the file was replaced")
	}
	f.createTicket(resource.TicketSpec{})
	if err := os.Remove(f.AdminTokenFile()); err != nil {
		t.Fatal(err)
	}
	f.restart()
	if _, err := os.Stat(f.AdminTokenFile()); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a later start wrote a token")
	}
	f.createTicket(resource.TicketSpec{})
}

func TestABaseWithAPath(t *testing.T) {
	f := start(t, func(c *Config) { c.URL = "https://id.example/lanyard/" })
	if f.OperatorBase() != "https://id.example/lanyard/operator" {
		t.Errorf("base %s", f.OperatorBase())
	}
	for path, want := range map[string]int{"/lanyard" + jwksPath: 200, jwksPath: 404, "/healthz": 200} {
		recorder := httptest.NewRecorder()
		f.Handler().ServeHTTP(recorder, httptest.NewRequest("GET", path, nil))
		if recorder.Code != want {
			t.Errorf("%s: %d, want %d", path, recorder.Code, want)
		}
	}
}

func TestCheckListen(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1:8700": true, "127.8.8.8:1": true, "[::1]:8700": true, "localhost:0": true, "[::ffff:127.0.0.1]:1": true,
		"0.0.0.0:8700": false, ":8700": false, "[::]:8700": false, "192.0.2.1:8700": false, "example.org:8700": false,
		"localhost.example.org:1": false, "8700": false, "": false,
	} {
		err := CheckListen(address, false, false)
		if (err == nil) != ok || (err != nil && !errors.Is(err, ErrConfig)) {
			t.Errorf("%q: %v", address, err)
		}
		if strings.Contains(address, ":") && (CheckListen(address, true, false) != nil || CheckListen(address, false, true) != nil) {
			t.Errorf("%q is refused with TLS or when insecure is allowed", address)
		}
	}
}

func TestDefaultURL(t *testing.T) {
	loopback := &net.TCPAddr{IP: net.IPv6loopback, Port: 8700}
	for _, tt := range []struct {
		addr net.Addr
		tls  bool
		want string
	}{{loopback, false, "http://[::1]:8700"}, {loopback, true, "https://[::1]:8700"}, {&net.TCPAddr{IP: net.IPv4zero, Port: 1}, true, ""}} {
		got, err := DefaultURL(tt.addr, tt.tls)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%v: %q, %v", tt.addr, got, err)
		}
	}
}

func TestHealthAndMetrics(t *testing.T) {
	f := start(t)
	f.enrol(f.createTicket(resource.TicketSpec{}).Ticket).idToken(nil)
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := f.send("GET", path, "", nil); got.status != 200 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	f.send("POST", registerPath, "", "nonsense")
	metrics := f.send("GET", "/metrics", "", nil).body
	for _, line := range []string{
		"lanyard_authority_tokens_issued_total 1",
		"lanyard_authority_enrolments_total 1",
		`lanyard_authority_requests_total{code="200",endpoint="/operator/v1/id_token"} 1`,
		`lanyard_authority_requests_total{code="400",endpoint="/operator/v1/register"} 1`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("metrics lack %q", line)
		}
	}
	for i := range 100 {
		f.send("GET", fmt.Sprintf("/nonsense/%d", i), "", nil).refused(t, 404)
	}
	if metrics := f.send("GET", "/metrics", "", nil).body; strings.Contains(metrics, "nonsense") {
		t.Error("paths of strangers become labels")
	}
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	f.send("GET", "/readyz", "", nil).refused(t, 503)
	f.send("GET", "/healthz", "", nil)
}

// TestAStopFinishesWhatItHas: a request whose body is still coming is answered.
func TestAStopFinishesWhatItHas(t *testing.T) {
	f := start(t)
	reader, writer := io.Pipe()
	request, err := http.NewRequest("POST", f.base+registerPath, reader)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Expect", "100-continue") // nothing of the body before the server reads it
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: time.Minute}}
	got := make(chan int, 1)
	go func() {
		response, err := client.Do(request)
		if err != nil {
			t.Error(err)
			got <- 0
			return
		}
		_ = response.Body.Close()
		got <- response.StatusCode
	}()
	if _, err := writer.Write([]byte("{")); err != nil { // the server reads: it has the request
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() { f.stop(); close(stopped) }()
	address := strings.TrimPrefix(f.base, "http://")
	for { // until new connections are refused
		conn, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	if _, err := writer.Write([]byte("}")); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	if status := <-got; status != 400 {
		t.Errorf("status %d", status)
	}
	<-stopped
}

func TestTLS(t *testing.T) {
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	pair, err := certificates.New(until)
	if err != nil {
		t.Fatal(err)
	}
	cert, key := filepath.Join(t.TempDir(), "tls.crt"), filepath.Join(t.TempDir(), "tls.key")
	if err := pair.Write(cert, key); err != nil {
		t.Fatal(err)
	}
	f := start(t, func(c *Config) { c.TLSCertFile, c.TLSKeyFile = cert, key })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pair.Certificate)
	overTLS := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer overTLS.CloseIdleConnections()
	response, err := overTLS.Get(strings.Replace(f.base, "http://", "https://", 1) + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	expiry := fmt.Sprintf("\nlanyard_authority_tls_certificate_expiry_timestamp_seconds %g\n", float64(until.Unix()))
	if err != nil || response.StatusCode != 200 || !strings.Contains(string(text), expiry) {
		t.Errorf("status %d, %v; want %q in\n%s", response.StatusCode, err, expiry, text)
	}
	broken := f.config
	broken.DataDir, broken.TLSKeyFile = filepath.Join(t.TempDir(), "data"), cert
	if _, err := New(broken); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), cert) {
		t.Errorf("a certificate as the key: %v", err)
	}
	if _, err := os.Stat(broken.DataDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was made before the configuration was right: %v", err)
	}
}
