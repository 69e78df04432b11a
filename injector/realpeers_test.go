package injector

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"sync"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// arrivals is a listener of what the injector dials.
type arrivals struct {
	conns  <-chan *net.TCPConn
	closed chan struct{}
	once   sync.Once
}

func (a *arrivals) Accept() (net.Conn, error) {
	select {
	case c, ok := <-a.conns:
		if ok {
			return c, nil
		}
	case <-a.closed:
	}
	return nil, net.ErrClosed
}

func (a *arrivals) Close() error {
	a.once.Do(func() { close(a.closed) })
	return nil
}

func (a *arrivals) Addr() net.Addr { return &net.TCPAddr{} }

// echo answers with the request's body if the request carries the token.
func echo(rw nethttp.ResponseWriter, r *nethttp.Request) {
	if r.Header.Get("Authorization") != "Bearer "+theToken {
		rw.WriteHeader(nethttp.StatusUnauthorized)
		return
	}
	body, _ := io.ReadAll(r.Body) // net/http drops what it has not read when it answers
	_, _ = rw.Write(body)
}

// A real client and a real server, which know nothing of us: many requests over
// few connections, all kinds of bodies.
func TestRealClientAndServer(t *testing.T) {
	const workers, requests = 8, 50
	w := newWorld(t)
	server := &nethttp.Server{Handler: nethttp.HandlerFunc(echo)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(&arrivals{conns: w.accepted, closed: make(chan struct{})}) }()
	transport := &nethttp.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", w.front.Addr().String())
	}}
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			for i := range requests {
				body := bytes.Repeat([]byte{byte(i)}, (worker*requests+i)*373%(1<<17))
				if err := postAndCompare(transport, body, i%2 == 0); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	transport.CloseIdleConnections()
	for range workers * requests {
		w.use(workload.Injected)
	}
	eventually(t, "the connections end", func() bool { return w.server.Open() == 0 })
	must(t, server.Shutdown(t.Context()))
	if err := <-served; err != nethttp.ErrServerClosed {
		t.Error(err)
	}
}

// postAndCompare expects that the body comes back.
func postAndCompare(transport *nethttp.Transport, body []byte, chunked bool) error {
	var r io.Reader = bytes.NewReader(body)
	if chunked {
		r = struct{ io.Reader }{r} // of unknown length
	}
	req, err := nethttp.NewRequest(nethttp.MethodPost, "http://ledger.internal/", r)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(resp.Body)
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	if err == nil && (resp.StatusCode != nethttp.StatusOK || !bytes.Equal(got, body)) {
		err = fmt.Errorf("%s: %d bytes came back of %d", resp.Status, len(got), len(body))
	}
	return err
}
