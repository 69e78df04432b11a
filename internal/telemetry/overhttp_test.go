package telemetry

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/lanyardhq/lanyard/internal/serverurl/serverurltest"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// patience is for what takes milliseconds on a machine that is not busy.
const patience = time.Minute

// exporting makes an environment in which spans go to a collector as soon as they end.
func exporting(t *testing.T, endpoint string, more map[string]string) {
	t.Helper()
	for _, name := range []string{
		"OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_INSECURE", "OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
		"OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY",
		"OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10") // milliseconds
	for name, value := range more {
		t.Setenv(name, value)
	}
}

func start(t *testing.T, logger *slog.Logger) *Recorder {
	t.Helper()
	r, err := Setup(t.Context(), Options{Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// end shuts down, and fails the test if that takes as long as its bound.
func end(t *testing.T, r *Recorder) {
	t.Helper()
	began := time.Now()
	_ = r.Shutdown(context.Background()) // what the collector did not take is lost
	if took := time.Since(began); took >= shutdownTimeout {
		t.Errorf("shutdown took %v", took)
	}
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

// A collector that changes the protocol, and then says nothing, costs the spans of one
// export: those after it arrive.
func TestCollectorThatChangesTheProtocol(t *testing.T) {
	var requests atomic.Int32
	letGo := make(chan error, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) == 1 {
			letGo <- serverurltest.ChangeProtocol(w, patience)
		}
	}))
	defer collector.Close()
	exporting(t, collector.URL, nil)
	var log bytes.Buffer
	r := start(t, slog.New(slog.NewTextHandler(&log, nil)))
	r.Use(Use{Outcome: workload.Injected})
	await(t, "the first span is lost", func() bool { return r.metrics.spans.failed.Load() == 1 })
	if err := <-letGo; err != nil {
		t.Error(err)
	}
	r.Use(Use{Outcome: workload.Injected})
	await(t, "the second is exported", func() bool { return r.metrics.spans.exported.Load() == 1 })
	end(t, r)
	if !strings.Contains(log.String(), "101 (Switching Protocols)") || !strings.Contains(log.String(), "traces are exported again") {
		t.Errorf("log:\n%s", log.String())
	}
}

// The same of one that should speak gRPC.
func TestCollectorThatNeverSpeaksGRPC(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
		}
	}()
	defer func() {
		_ = listener.Close()
		<-ended
	}()
	exporting(t, "http://"+listener.Addr().String(), map[string]string{
		"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TIMEOUT": "100",
	})
	r := start(t, nil)
	r.Use(Use{Outcome: workload.Injected})
	await(t, "the span is lost", func() bool { return r.metrics.spans.failed.Load() == 1 })
	end(t, r)
}

// stuck is an exporter that goes by no context.
type stuck struct{ free chan struct{} }

func (s stuck) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { <-s.free; return nil }
func (s stuck) Shutdown(context.Context) error                             { <-s.free; return nil }

func TestShutdownLeavesAStuckExporter(t *testing.T) {
	s := stuck{make(chan struct{})}
	defer close(s.free)
	m := newMetrics("")
	e := newExporter(s, slog.New(slog.DiscardHandler), &m.spans)
	r := &Recorder{metrics: m, provider: sdktrace.NewTracerProvider(sdktrace.WithBatcher(e)), exporter: e}
	_, span := r.provider.Tracer("").Start(t.Context(), "span")
	span.End()
	ended := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	go func() { ended <- r.Shutdown(ctx) }()
	select {
	case err := <-ended:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	case <-time.After(patience):
		t.Error("shutdown waits for the exporter")
	}
}

// What the environment says of a collector's TLS counts, though the client is ours.
func TestCollectorsTLS(t *testing.T) {
	certificate, key := selfSigned(t)
	junk := filepath.Join(t.TempDir(), "junk.pem")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	type export struct{ client, tenant string }
	exports := make(chan export, 10)
	collector := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		exports <- export{r.TLS.PeerCertificates[0].Subject.CommonName, r.Header.Get("X-Tenant")}
	}))
	collector.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	collector.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	collector.StartTLS()
	defer collector.Close()
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, encodePEM("CERTIFICATE", collector.Certificate().Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	const prefix = "OTEL_EXPORTER_OTLP_"
	for name, tt := range map[string]struct {
		variables map[string]string
		arrives   bool
	}{
		"of all signals": {map[string]string{
			prefix + "CERTIFICATE": roots, prefix + "CLIENT_CERTIFICATE": certificate, prefix + "CLIENT_KEY": key,
		}, true},
		"of traces": {map[string]string{
			prefix + "TRACES_CERTIFICATE": roots, prefix + "TRACES_CLIENT_CERTIFICATE": certificate, prefix + "TRACES_CLIENT_KEY": key,
		}, true},
		"unreadable of traces": {map[string]string{
			prefix + "CERTIFICATE": roots, prefix + "CLIENT_CERTIFICATE": certificate, prefix + "CLIENT_KEY": key,
			prefix + "TRACES_CERTIFICATE": junk,
		}, true},
		"no client": {map[string]string{prefix + "CERTIFICATE": roots}, false},
		"no roots":  {map[string]string{prefix + "CLIENT_CERTIFICATE": certificate, prefix + "CLIENT_KEY": key}, false},
	} {
		t.Run(name, func(t *testing.T) {
			exporting(t, collector.URL, tt.variables)
			t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "X-Tenant=ours")
			r := start(t, nil)
			r.Use(Use{Outcome: workload.Injected})
			spans := &r.metrics.spans
			await(t, "an end of the export", func() bool { return spans.exported.Load()+spans.failed.Load() == 1 })
			end(t, r)
			if arrived := spans.exported.Load() == 1; arrived != tt.arrives {
				t.Fatalf("arrived: %v", arrived)
			}
			if !tt.arrives {
				return
			}
			if got := <-exports; got != (export{"agent", "ours"}) {
				t.Errorf("exported by %+v", got)
			}
		})
	}
}

// selfSigned returns files with a certificate for the common name agent, and its key.
func selfSigned(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	template.Subject.CommonName = "agent"
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(t.TempDir(), "certificate.pem"), filepath.Join(t.TempDir(), "key.pem")
	err = errors.Join(os.WriteFile(certificate, encodePEM("CERTIFICATE", signed), 0o600), os.WriteFile(key, encodePEM("PRIVATE KEY", encoded), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

func encodePEM(kind string, data []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data})
}

func TestCollectorTimeout(t *testing.T) {
	for _, tt := range []struct {
		all, traces string
		want        time.Duration
	}{
		{"", "", 10 * time.Second}, {"2500", "", 2500 * time.Millisecond}, {"2500", " 100 ", 100 * time.Millisecond}, {"soon", "", 10 * time.Second},
	} {
		exporting(t, "", map[string]string{"OTEL_EXPORTER_OTLP_TIMEOUT": tt.all, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": tt.traces})
		if got := newCollectorClient().Timeout; got != tt.want {
			t.Errorf("%q, %q: %v, want %v", tt.all, tt.traces, got, tt.want)
		}
	}
}

// Only OTLP over HTTP is ours to make a client for.
func TestExportsOverHTTP(t *testing.T) {
	for _, tt := range []struct {
		exporter, traces, all string
		want                  bool
	}{
		{"", "", "", true},
		{"otlp", "", "http/protobuf", true},
		{"otlp", "http/protobuf", "grpc", true},
		{"", "grpc", "http/protobuf", false},
		{"console", "", "", false},
		{"none", "", "", false},
		{"", "", "http/json", false}, // which autoexport refuses
	} {
		exporting(t, "", map[string]string{
			"OTEL_TRACES_EXPORTER": tt.exporter, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": tt.traces, "OTEL_EXPORTER_OTLP_PROTOCOL": tt.all,
		})
		if got := exportsOverHTTP(); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}
