package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

// Ports from first up to last, which is not among them. Between the finding of a port
// and the listening on it somebody else may get it: these are not among the ports that
// Linux gives to whoever asks for any (ip_local_port_range, from 32768 on by default),
// nor among those of Kubernetes' services (from 30000 on).
const (
	first = 20000
	last  = 30000

	attempts = 100
)

// Address returns an address on 127.0.0.1 that nobody listens on, as host:port. Each
// call finds another one, most likely. It is safe for concurrent use.
func Address() (string, error) {
	for range attempts {
		port := first + rand.IntN(last-first)
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("find a free port: %w", err)
		}
		return listener.Addr().String(), listener.Close()
	}
	return "", fmt.Errorf("find a free port: %d ports between %d and %d are all taken", attempts, first, last)
}
