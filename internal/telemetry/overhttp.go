package telemetry

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/lanyardhq/lanyard/internal/serverurl"
)

// OpenTelemetry's defaults, which it does not export.
const (
	exportTimeout    = 10 * time.Second // of one attempt
	dialTimeout      = 30 * time.Second
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 90 * time.Second
)

// newSpanExporter returns the exporter that the environment names. Its own client of
// OTLP over HTTP would wait for as long as the collector likes once that has answered
// 101, so that one gets ours.
func newSpanExporter(ctx context.Context) (trace.SpanExporter, error) {
	if !exportsOverHTTP() {
		return autoexport.NewSpanExporter(ctx)
	}
	return otlptracehttp.New(ctx, otlptracehttp.WithHTTPClient(newCollectorClient()))
}

// exportsOverHTTP reports whether the environment asks for OTLP over HTTP, by the rules
// of autoexport.
func exportsOverHTTP() bool {
	exporter := cmp.Or(os.Getenv("OTEL_TRACES_EXPORTER"), "otlp")
	protocol := cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), "http/protobuf")
	return exporter == "otlp" && protocol == "http/protobuf"
}

// newCollectorClient returns what otlptracehttp makes where it is given no client, but
// for an answer of 101, which is an error. Endpoint, headers and compression are not the
// client's.
func newCollectorClient() *http.Client {
	return &http.Client{
		Timeout: collectorTimeout(),
		Transport: serverurl.WithoutUpgrade(&http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			DialContext:         (&net.Dialer{Timeout: dialTimeout}).DialContext,
			ForceAttemptHTTP2:   true,
			IdleConnTimeout:     idleTimeout,
			TLSHandshakeTimeout: handshakeTimeout,
			TLSClientConfig:     collectorTLS(),
		}),
	}
}

// collectorTimeout is how long one attempt may take. What is no number is passed over;
// OpenTelemetry, which reads these variables as well, reports it.
func collectorTimeout() time.Duration {
	timeout := exportTimeout
	for _, kind := range []string{"", "TRACES_"} {
		if milliseconds, err := strconv.Atoi(exporterVariable(kind + "TIMEOUT")); err == nil {
			timeout = time.Duration(milliseconds) * time.Millisecond
		}
	}
	return timeout
}

// collectorTLS says whom to trust and who we are, or is nil where the environment says
// neither. What cannot be read is passed over; OpenTelemetry, which reads these variables
// as well, reports it.
func collectorTLS() *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	said := false
	for _, kind := range []string{"", "TRACES_"} {
		if file := exporterVariable(kind + "CERTIFICATE"); file != "" {
			roots := x509.NewCertPool()
			if text, err := os.ReadFile(file); err == nil && roots.AppendCertsFromPEM(text) {
				config.RootCAs, said = roots, true
			}
		}
		ours, err := tls.LoadX509KeyPair(exporterVariable(kind+"CLIENT_CERTIFICATE"), exporterVariable(kind+"CLIENT_KEY"))
		if err == nil {
			config.Certificates, said = []tls.Certificate{ours}, true
		}
	}
	if !said {
		return nil
	}
	return config
}

func exporterVariable(name string) string {
	return strings.TrimSpace(os.Getenv("OTEL_EXPORTER_OTLP_" + name))
}
