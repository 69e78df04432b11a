package injector

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	nethttp "net/http"
	"os"
	"sync"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
	"github.com/lanyardhq/lanyard/test/lab"
)

// vectorExceptions are the requests that the corpus refuses and we forward with
// a token, each with the reason.
var vectorExceptions = map[string]string{
	"llhttp/request/invalid.md:69":  "a method is any token (RFC 9110 §9.1); llhttp knows a list",
	"llhttp/request/invalid.md:359": "a method is any token (RFC 9110 §9.1); llhttp knows a list",
	"llhttp/request/uri.md:151":     "clients such as curl send UTF-8 in targets as they are; it frames nothing (RFC 9112 §3.2 forbids white space)",
}

type vector struct {
	ID, Mode, Verdict string
	Complete          int    `json:"messages_complete"`
	Payload           []byte `json:"payload_b64"`
}

// What the corpus refuses never reaches the destination with a token: not as it
// is, and not with the Host that most of its requests lack.
func TestRefusedVectorsGetNoToken(t *testing.T) {
	used := map[string]bool{}
	for _, v := range readVectors(t) {
		if v.Mode != "request" || v.Verdict != "reject" {
			continue
		}
		for _, payload := range [][]byte{v.Payload, withHost(v.Payload)} {
			tokens := tokensSent(t, payload)
			if tokens <= v.Complete {
				continue
			}
			if vectorExceptions[v.ID] == "" {
				t.Errorf("%s: %d tokens for %q", v.ID, tokens, payload)
			}
			used[v.ID] = true
		}
	}
	for id := range vectorExceptions {
		if !used[id] {
			t.Errorf("exception %s is not needed", id)
		}
	}
}

// readVectors reads a corpus of requests that a strict parser accepts or refuses.
func readVectors(t *testing.T) (all []vector) {
	t.Helper()
	b, err := os.ReadFile(lab.Shared(t, "vectors", "http1", "llhttp.json"))
	must(t, err)
	must(t, json.Unmarshal(b, &all))
	return all
}

// withHost adds a Host to the first head if there is none.
func withHost(payload []byte) []byte {
	line, rest, found := bytes.Cut(payload, []byte("\r\n"))
	if !found || bytes.Contains(bytes.ToLower(payload), []byte("\r\nhost:")) {
		return payload
	}
	return bytes.Join([][]byte{line, []byte("Host: ledger.internal"), rest}, []byte("\r\n"))
}

// tokensSent plays a payload to an injector whose every request is due a token,
// with net/http behind it, and counts the tokens that arrive there.
func tokensSent(t *testing.T, payload []byte) int {
	t.Helper()
	w := newWorld(t, func(w *world, _ *Config) {
		d := ledger()
		w.setPolicy(&policy{identity: billing, any: d})
	})
	o := startOracle(w)
	client := w.client()
	_, err := client.conn.Write(payload)
	must(t, err)
	must(t, client.conn.CloseWrite())
	_, _ = io.Copy(io.Discard, client.conn)
	client.close()
	eventually(t, "the connection ends", func() bool { return w.server.Open() == 0 })
	return o.stop()
}

// oracle is net/http as a strict server that keeps what it received.
type oracle struct {
	server *nethttp.Server
	conns  <-chan *net.TCPConn
	closed chan struct{}
	done   chan struct{}
	mu     sync.Mutex
	got    bytes.Buffer
}

func startOracle(w *world) *oracle {
	o := &oracle{conns: w.accepted, closed: make(chan struct{}), done: make(chan struct{})}
	o.server = &nethttp.Server{
		Handler: nethttp.HandlerFunc(func(_ nethttp.ResponseWriter, r *nethttp.Request) { _, _ = io.Copy(io.Discard, r.Body) }),
	}
	go func() {
		defer close(o.done)
		_ = o.server.Serve(o)
	}()
	return o
}

func (o *oracle) stop() int {
	_ = o.server.Shutdown(context.Background())
	<-o.done
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Count(o.got.Bytes(), []byte(theToken))
}

func (o *oracle) Accept() (net.Conn, error) {
	select {
	case c, ok := <-o.conns:
		if ok {
			return &recorded{c, o}, nil
		}
	case <-o.closed:
	}
	return nil, net.ErrClosed
}

func (o *oracle) Close() error {
	select {
	case <-o.closed:
	default:
		close(o.closed)
	}
	return nil
}

func (o *oracle) Addr() net.Addr { return &net.TCPAddr{} }

type recorded struct {
	*net.TCPConn
	to *oracle
}

func (r *recorded) Read(b []byte) (int, error) {
	n, err := r.TCPConn.Read(b)
	r.to.mu.Lock()
	defer r.to.mu.Unlock()
	r.to.got.Write(b[:n])
	return n, err
}

// A real client and a real server, which know nothing of us: many requests over
// few connections, all kinds of bodies.
func TestRealClientAndServer(t *testing.T) {
	w := newWorld(t)
	o := startOracle(w)
	o.server.Handler = nethttp.HandlerFunc(func(rw nethttp.ResponseWriter, r *nethttp.Request) {
		if r.Header.Get("Authorization") != "Bearer "+theToken {
			rw.WriteHeader(nethttp.StatusUnauthorized)
			return
		}
		body, _ := io.ReadAll(r.Body) // net/http drops what it has not read when it answers
		_, _ = rw.Write(body)
	})
	transport := &nethttp.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", w.front.Addr().String())
	}}
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 50 {
				body := bytes.Repeat([]byte{byte(i)}, (worker*50+i)*373%(1<<17))
				var r io.Reader = bytes.NewReader(body)
				if i%2 == 0 {
					r = struct{ io.Reader }{r} // of unknown length: chunked
				}
				req, err := nethttp.NewRequest(nethttp.MethodPost, "http://ledger.internal/", r)
				if err == nil {
					var resp *nethttp.Response
					if resp, err = transport.RoundTrip(req); err == nil {
						got, readErr := io.ReadAll(resp.Body)
						_ = resp.Body.Close()
						if readErr != nil || resp.StatusCode != 200 || !bytes.Equal(got, body) {
							t.Errorf("%d, %d bytes of %d, %v", resp.StatusCode, len(got), len(body), readErr)
						}
					}
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	transport.CloseIdleConnections()
	for range 8 * 50 {
		w.use(workload.Injected)
	}
	eventually(t, "the connections end", func() bool { return w.server.Open() == 0 })
	o.stop()
}
