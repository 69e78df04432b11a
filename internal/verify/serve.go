package verify

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"

	"github.com/lanyardhq/lanyard/internal/httpserve"
	"github.com/lanyardhq/lanyard/internal/serverurl"
)

const (
	// maxHeaderBytes bounds the head of a question, which repeats that of a client's
	// request.
	maxHeaderBytes = 64 << 10
	// maxAnswerHead bounds the head of the issuer's answer.
	maxAnswerHead = 32 << 10
	// maxConnections bounds those that ask, each for one request of a client's at a time.
	maxConnections = 1024
	// maxConnectionsPerSource bounds those from one other machine.
	maxConnectionsPerSource = 256
)

// loopback are the addresses of a proxy beside us, which asks for all of its clients: the
// bound of a source is not for it.
func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// NewClient returns a client that fetches keys, and trusts the PEM certificates in
// a file, or the system's for "".
func NewClient(caFile string) (*http.Client, error) {
	roots, err := serverurl.ReadRoots(caFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return &http.Client{
		Transport: serverurl.WithoutUpgrade(&http.Transport{
			DialContext:            serverurl.DialContext(fetchTimeout),
			DisableKeepAlives:      true, // one request in minutes is worth no open connection
			MaxResponseHeaderBytes: maxAnswerHead,
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		}),
	}, nil
}

// Serve answers on the listener, which it closes, until ctx ends, and then finishes
// the requests that it has.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, log *slog.Logger) error {
	if address, ok := listener.Addr().(*net.TCPAddr); ok && !address.IP.IsLoopback() {
		log.Warn("other machines reach this address; the tokens in their questions pass the network in the clear", "address", address)
	}
	return httpserve.Serve(ctx, listener, httpserve.Config{
		Handler: handler, MaxHeaderBytes: maxHeaderBytes, Log: log,
		Bounds: httpserve.Bounds{All: maxConnections, PerSource: maxConnectionsPerSource, Exempt: loopback()},
	})
}
