package httpserve

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lanyardhq/lanyard/test/certificates"
)

// waitLimit bounds every wait for a condition.
const waitLimit = 20 * time.Second

var (
	thisYear = time.Now().Add(24 * time.Hour).Truncate(time.Second)
	nextYear = thisYear.Add(365 * 24 * time.Hour)
)

func newPair(t *testing.T, until time.Time) certificates.Pair {
	t.Helper()
	pair, err := certificates.New(until)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// load writes a pair into a folder of its own and loads it from there.
func load(t *testing.T, pair certificates.Pair) *Certificate {
	t.Helper()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	if err := pair.Write(cert, key); err != nil {
		t.Fatal(err)
	}
	c, err := LoadCertificate(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// looks has the certificate look at its files, and checks what it serves then and
// how many problems that told.
func looks(t *testing.T, c *Certificate, until time.Time, problems int) {
	t.Helper()
	var log bytes.Buffer
	c.look(slog.New(slog.NewTextHandler(&log, nil)))
	if !c.Expires().Equal(until) {
		t.Errorf("served until %s, want %s", c.Expires(), until)
	}
	if told := strings.Count(log.String(), "level=ERROR"); told != problems {
		t.Errorf("told %d problems, want %d:\n%s", told, problems, &log)
	}
	if strings.Contains(log.String(), "PRIVATE") {
		t.Errorf("the key is in the log:\n%s", &log)
	}
}

func TestFilesAreReplacedOneAfterTheOther(t *testing.T) {
	c, next := load(t, newPair(t, thisYear)), newPair(t, nextYear)
	looks(t, c, thisYear, 0)
	write(t, c.certFile, next.Certificate)
	looks(t, c, thisYear, 0) // for a moment they do not fit, which nobody needs to know
	write(t, c.keyFile, next.Key)
	looks(t, c, nextYear, 0)
	looks(t, c, nextYear, 0)
}

func TestWhatCannotBeLoadedIsToldOnce(t *testing.T) {
	first, next := newPair(t, thisYear), newPair(t, nextYear)
	c := load(t, first)
	for _, spoil := range []func(){
		func() { write(t, c.certFile, next.Certificate) }, // of another key
		func() { write(t, c.certFile, nil) },              // cut off
		func() { write(t, c.certFile, []byte("nothing")) },
		func() {
			if err := os.Remove(c.certFile); err != nil {
				t.Fatal(err)
			}
		},
		func() { write(t, c.certFile, first.Certificate); write(t, c.keyFile, next.Key) },
	} {
		spoil()
		looks(t, c, thisYear, 0)
		looks(t, c, thisYear, 1)
		looks(t, c, thisYear, 0)
	}
	write(t, c.certFile, next.Certificate)
	looks(t, c, nextYear, 0)
}

// Of equal size and written within one tick of the clock of files: only the content
// tells.
func TestContentTells(t *testing.T) {
	c, next := load(t, newPair(t, thisYear)), newPair(t, nextYear)
	info, err := os.Stat(c.certFile)
	if err != nil {
		t.Fatal(err)
	}
	write(t, c.certFile, next.Certificate)
	write(t, c.keyFile, next.Key)
	if err := os.Chtimes(c.certFile, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	looks(t, c, nextYear, 0)
}

func TestLoadCertificateRefuses(t *testing.T) {
	good := load(t, newPair(t, thisYear))
	for name, files := range map[string][2]string{
		"no certificate":           {"/nowhere", good.keyFile},
		"no key":                   {good.certFile, "/nowhere"},
		"a certificate as the key": {good.certFile, good.certFile},
		"key of another":           {good.certFile, load(t, newPair(t, thisYear)).keyFile},
	} {
		if _, err := LoadCertificate(files[0], files[1]); err == nil || !strings.Contains(err.Error(), files[1]) && files[0] != "/nowhere" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestServedCertificateIsReplaced swaps the link through which Kubernetes mounts a
// secret, under a server with an open connection.
func TestServedCertificateIsReplaced(t *testing.T) {
	dir := t.TempDir()
	roots := x509.NewCertPool()
	for name, until := range map[string]time.Time{"first": thisYear, "next": nextYear} {
		pair := newPair(t, until)
		roots.AppendCertsFromPEM(pair.Certificate)
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := pair.Write(filepath.Join(dir, name, "tls.crt"), filepath.Join(dir, name, "tls.key")); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	if err := os.Symlink("first", data); err != nil {
		t.Fatal(err)
	}
	c, err := LoadCertificate(filepath.Join(data, "tls.crt"), filepath.Join(data, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, Config{Handler: http.HandlerFunc(welcome), Certificate: c})
	kept := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer kept.CloseIdleConnections()
	if until := expiry(t, kept, address); !until.Equal(thisYear) {
		t.Fatalf("served until %s at first", until)
	}

	if err := os.Symlink("next", data+"-tmp"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(data+"-tmp", data); err != nil {
		t.Fatal(err)
	}
	fresh := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	for deadline := time.Now().Add(waitLimit); ; {
		if expiry(t, fresh, address).Equal(nextYear) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not replaced within %s", waitLimit)
		}
	}
	if until := expiry(t, kept, address); !until.Equal(thisYear) {
		t.Error("the open connection was dropped")
	}
}

// serve serves until the test ends, and returns where.
func serve(t *testing.T, config Config) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config.Log = slog.New(slog.DiscardHandler)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, listener, config) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return listener.Addr().String()
}

func welcome(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "welcome") }

// expiry asks the server, and returns when the certificate of the connection expires.
func expiry(t *testing.T, client *http.Client, address string) time.Time {
	t.Helper()
	response, err := client.Get("https://" + address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || string(text) != "welcome" {
		t.Fatalf("answer %q, %v", text, err)
	}
	return response.TLS.PeerCertificates[0].NotAfter
}

// TestProtocols: HTTP/2 where both sides have it, and nothing older than TLS 1.2.
func TestProtocols(t *testing.T) {
	pair := newPair(t, thisYear)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pair.Certificate)
	address := serve(t, Config{Handler: http.HandlerFunc(welcome), Certificate: load(t, pair)})
	modern := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	defer modern.CloseIdleConnections()
	response, err := modern.Get("https://" + address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 || response.TLS.Version != tls.VersionTLS13 {
		t.Errorf("spoke %s over %s", response.Proto, tls.VersionName(response.TLS.Version))
	}
	old := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	if conn, err := tls.Dial("tcp", address, old); err == nil {
		_ = conn.Close()
		t.Error("spoke TLS 1.1")
	}
}

// A key that others can read, and a certificate that others can change, are not served.
func TestFilesOfOthersAreNotServed(t *testing.T) {
	for _, test := range []struct {
		file   string
		mode   os.FileMode
		remedy string
	}{{"tls.key", 0o644, "chmod 600"}, {"tls.key", 0o620, "chmod 600"}, {"tls.crt", 0o666, "chmod go-w"}} {
		c := load(t, newPair(t, thisYear))
		dir := filepath.Dir(c.certFile)
		if err := os.Chmod(filepath.Join(dir, test.file), test.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadCertificate(c.certFile, c.keyFile); err == nil || !strings.Contains(err.Error(), test.remedy) {
			t.Errorf("%s with mode %o: %v", test.file, test.mode, err)
		}
		looks(t, c, thisYear, 0) // it may be being written
		looks(t, c, thisYear, 1) // what is served goes on
	}
}
