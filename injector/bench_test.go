package injector

import (
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/telemetry"
)

const browserHead = "GET /api/v1/invoices?page=2 HTTP/1.1\r\nHost: ledger.internal\r\nUser-Agent: curl/7.88.1\r\n" +
	"Accept: application/json\r\nAccept-Encoding: gzip, deflate, br\r\nX-Request-Id: 5d41402abc4b2a76b9719d911017c592\r\n\r\n"

func BenchmarkParseHead(b *testing.B) {
	h, in := new(head), []byte(browserHead)
	b.ReportAllocs()
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		h.reset()
		if done, err := h.parse(in); !done || err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkInject(b *testing.B) {
	h, in, tok := new(head), []byte(browserHead), someToken(b)
	h.reset()
	if _, err := h.parse(in); err != nil {
		b.Fatal(err)
	}
	out := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		out = appendInjected(out[:0], in, h, tok)
	}
}

func BenchmarkChunked(b *testing.B) {
	in := []byte(chunks(strings.Repeat("x", 1<<20)))
	var c chunked
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		c.start(true)
		if _, done, err := c.feed(in); !done || err != nil {
			b.Fatal(err)
		}
	}
}

// quiet is a recorder that keeps nothing.
type quiet struct{}

func (quiet) Use(telemetry.Use) {}

func silent(_ *world, c *Config) { c.Recorder = quiet{} }

// BenchmarkKeepAlive is a warm request on an open connection, client and server
// included, which allocate nothing themselves.
func BenchmarkKeepAlive(b *testing.B) {
	w := newWorld(b, silent)
	exchangeOver(b, w)
}

// BenchmarkRelay is the same through an opaque relay: what the hop itself costs.
func BenchmarkRelay(b *testing.B) {
	w := newWorld(b, silent, stranger)
	exchangeOver(b, w)
}

func exchangeOver(b *testing.B, w *world) {
	client, upstream := w.pair()
	go func() {
		in := make([]byte, 1<<14)
		for {
			if _, err := upstream.conn.Read(in); err != nil {
				return
			}
			if _, err := upstream.conn.Write([]byte(ok)); err != nil {
				return
			}
		}
	}()
	request, in := []byte(browserHead), make([]byte, len(ok))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(client.conn, in); err != nil {
			b.Fatal(err)
		}
	}
	client.close()
	_ = upstream.conn.CloseWrite()
}

func BenchmarkUpload(b *testing.B) {
	w := newWorld(b, silent)
	client, upstream := w.pair()
	const size, head = 64 << 20, "POST / HTTP/1.1\r\nHost: ledger.internal\r\nContent-Length: 67108864\r\n"
	go func() {
		for { // it answers what it has whole, or else would get nothing more
			if _, err := io.CopyN(io.Discard, upstream.conn, int64(len(head+bearer+"\r\n")+size)); err != nil {
				return
			}
			if _, err := upstream.conn.Write([]byte(ok)); err != nil {
				return
			}
		}
	}()
	chunk := make([]byte, 1<<20)
	b.SetBytes(size)
	for b.Loop() {
		client.send(head + "\r\n")
		for range size / len(chunk) {
			if _, err := client.conn.Write(chunk); err != nil {
				b.Fatal(err)
			}
		}
		client.expect(ok)
	}
	client.close()
	_ = upstream.conn.CloseWrite()
}

// A warm request allocates nothing.
func TestWarmRequestAllocatesNothing(t *testing.T) {
	w := newWorld(t, silent)
	client, upstream := w.pair()
	request, in := []byte(browserHead), make([]byte, 1<<14)
	once := func() {
		_, _ = client.conn.Write(request)
		must(t, readFull(upstream, in[:len(browserHead)+len(bearer)]))
		_, _ = upstream.conn.Write([]byte(ok))
		must(t, readFull(client, in[:len(ok)]))
	}
	once()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // it would empty the pools
	if n := testing.AllocsPerRun(1000, once); n > raceAllowance {
		t.Errorf("%v allocations", n)
	}
}

// An idle pair of connections is cheap: it holds no buffer.
func TestIdlePairIsSmall(t *testing.T) {
	const pairs, limit = 300, 16<<10 + raceStacks
	w := newWorld(t, silent)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var held []net.Conn
	for range pairs {
		client, upstream := w.pair()
		client.send(get + "\r\n")
		upstream.expect(get + bearer + "\r\n")
		upstream.send(ok)
		client.expect(ok)
		held = append(held, client.conn, upstream.conn)
	}
	runtime.GC()
	runtime.GC() // pools survive one
	runtime.ReadMemStats(&after)
	used := int64(after.HeapAlloc+after.StackInuse) - int64(before.HeapAlloc+before.StackInuse)
	t.Logf("%d bytes of stacks", (after.StackInuse-before.StackInuse)/pairs)
	t.Logf("%d bytes a pair, the test's own sockets among them", used/pairs)
	if used/pairs > limit {
		t.Errorf("%d bytes a pair", used/pairs)
	}
	runtime.KeepAlive(held)
}
