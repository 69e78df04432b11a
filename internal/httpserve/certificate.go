package httpserve

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/lanyardhq/lanyard/internal/trustedpath"
)

// lookInterval is how often the files of a certificate are looked at.
const lookInterval = 2 * time.Second

// maxPEM bounds a file of a certificate or a key, in bytes.
const maxPEM = 1 << 20

// Certificate is a server's certificate with its key, from two PEM files that may
// be replaced while it is served: whoever connects from then on gets the new one.
// It is served by one Serve at a time; otherwise it is safe for concurrent use.
type Certificate struct {
	certFile, keyFile string
	served            atomic.Pointer[tls.Certificate]

	seen    version // what the files held at the last look
	problem error   // of that, as long as it was not told
}

// version tells what two files hold, or why they cannot be read, from what they held
// before. Their times would miss a file that is written twice within a tick of its
// file system's clock.
type version struct {
	cert, key [sha256.Size]byte
	unread    string
}

// LoadCertificate reads the pair. The first certificate of certFile is the server's,
// those behind it lead to a CA. Files that others can change, and a key that they can
// read, are refused as package trustedpath has it.
func LoadCertificate(certFile, keyFile string) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile}
	pair, seen, err := c.load()
	if err != nil {
		return nil, fmt.Errorf("load TLS certificate: %w", err)
	}
	c.seen = seen
	c.served.Store(pair)
	return c, nil
}

// Expires returns when the certificate that is served now expires.
func (c *Certificate) Expires() time.Time { return c.served.Load().Leaf.NotAfter }

// load reads the files, and says of what.
func (c *Certificate) load() (*tls.Certificate, version, error) {
	cert, err := trustedpath.Read(c.certFile, trustedpath.Given, maxPEM)
	if err != nil {
		return nil, version{unread: err.Error()}, err
	}
	key, err := trustedpath.Read(c.keyFile, trustedpath.GivenSecret, maxPEM)
	if err != nil {
		return nil, version{unread: err.Error()}, err
	}
	seen := version{cert: sha256.Sum256(cert), key: sha256.Sum256(key)}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, seen, fmt.Errorf("%s with %s: %w", c.certFile, c.keyFile, err)
	}
	return &pair, seen, nil
}

// listen has the listener's connections speak TLS.
func (c *Certificate) listen(listener net.Listener) net.Listener {
	return tls.NewListener(listener, &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.served.Load(), nil },
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
	})
}

// follow looks at the files until ctx ends.
func (c *Certificate) follow(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.look(log)
		}
	}
}

// look serves what the files hold, if that is something else than at the last look
// and can be served. What cannot is told once, and only if it is still there at the
// next look: many programs replace one file after the other, and for a moment the
// two do not fit.
func (c *Certificate) look(log *slog.Logger) {
	pair, seen, err := c.load()
	switch {
	case seen == c.seen && c.problem != nil:
		log.Error("the TLS certificate was not replaced; the former one is still served",
			"error", c.problem, "expires", c.Expires())
		c.problem = nil
	case seen == c.seen:
	case err != nil:
		c.seen, c.problem = seen, err
	default:
		c.seen, c.problem = seen, nil
		c.served.Store(pair)
		log.Info("the TLS certificate was replaced", "expires", c.Expires())
	}
}
