package verify

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/lanyardhq/lanyard/internal/httpserve"
	"github.com/lanyardhq/lanyard/internal/serverurl"
)

const (
	// fetchTimeout bounds a fetch of the keys.
	fetchTimeout = 10 * time.Second
	// maxHeaderBytes bounds the head of a question, which repeats that of a client's
	// request.
	maxHeaderBytes = 64 << 10
)

// NewClient returns a client that fetches keys, and trusts the PEM certificates in
// a file, or the system's for "".
func NewClient(caFile string) (*http.Client, error) {
	roots, err := serverurl.ReadRoots(caFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return &http.Client{
		Timeout: fetchTimeout,
		Transport: &http.Transport{
			Proxy:           http.ProxyFromEnvironment,
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		},
		// Keys are those of the place that was configured, and of no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// Serve answers on the listener, which it closes, until ctx ends, and then finishes
// the requests that it has.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, log *slog.Logger) error {
	if address, ok := listener.Addr().(*net.TCPAddr); ok && !address.IP.IsLoopback() {
		log.Warn("other machines reach this address; the tokens in their questions pass the network in the clear", "address", address)
	}
	return httpserve.Serve(ctx, listener, httpserve.Config{Handler: handler, MaxHeaderBytes: maxHeaderBytes, Log: log})
}
