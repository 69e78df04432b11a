package httpserve

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestConnectionsAreBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		bounds Bounds
		come   string // sources, and "-" before one that goes
		want   string // by which bound each that comes is refused; "." for none
	}{
		"none":                           {Bounds{}, "192.0.2.1 192.0.2.1 192.0.2.1", ". . ."},
		"of a source":                    {Bounds{PerSource: 2}, "192.0.2.1 192.0.2.1 192.0.2.1 192.0.2.2", ". . source ."},
		"a place is free again":          {Bounds{PerSource: 1}, "192.0.2.1 192.0.2.1 -192.0.2.1 192.0.2.1", ". source ."},
		"a /64 is one":                   {Bounds{PerSource: 1}, "2001:db8::1 2001:db8::2 2001:db8:0:1::1", ". source ."},
		"IPv4 in IPv6 is IPv4":           {Bounds{PerSource: 1}, "192.0.2.1 ::ffff:192.0.2.1 ::ffff:192.0.2.2", ". source ."},
		"of all":                         {Bounds{All: 2}, "192.0.2.1 192.0.2.2 192.0.2.3 -192.0.2.1 192.0.2.3", ". . all ."},
		"a proxy stands for many":        {Bounds{PerSource: 1, Exempt: nets("192.0.2.9/32")}, "192.0.2.9 192.0.2.9 192.0.2.9 192.0.2.1 192.0.2.1", ". . . . source"},
		"a proxy counts among all":       {Bounds{All: 2, Exempt: nets("192.0.2.9/32")}, "192.0.2.9 192.0.2.9 192.0.2.9", ". . all"},
		"strangers leave a proxy places": {Bounds{All: 8, Exempt: nets("192.0.2.9/32")}, strings.Repeat("192.0.2.1 ", 8) + "192.0.2.9 192.0.2.9", strings.Repeat(". ", 7) + "all . all"},
	} {
		t.Run(name, func(t *testing.T) {
			l := tt.bounds.listen(nil, nil).(*boundedListener)
			var got []string
			for source := range strings.FieldsSeq(tt.come) {
				if gone, ok := strings.CutPrefix(source, "-"); ok {
					l.release(netip.MustParseAddr(gone))
					continue
				}
				by := l.take(sourceOf(&net.TCPAddr{IP: net.ParseIP(source), Port: 1}))
				if by == "" {
					by = "."
				}
				got = append(got, by)
			}
			if want := strings.Fields(tt.want); !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

func nets(text string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(text)} }

// TestOneSourceTakesNotAllConnections: beyond its bound it is closed at once, and others
// are served; every place comes back, and the sources are forgotten.
func TestOneSourceTakesNotAllConnections(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	refused := map[string]int{}
	var logged strings.Builder
	log := slog.New(slog.NewTextHandler(&logged, nil))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	const bound = 5
	go func() {
		ended <- Serve(ctx, inner, Config{
			Handler: http.HandlerFunc(welcome), Log: log,
			Bounds: Bounds{All: 100, PerSource: bound, Refused: func(by string) {
				mu.Lock()
				defer mu.Unlock()
				refused[by]++
			}},
		})
	}()
	dial := func(from string) net.Conn {
		t.Helper()
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: waitLimit}
		conn, err := dialer.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := conn.SetDeadline(time.Now().Add(waitLimit)); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	serves := func(conn net.Conn) bool {
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		first := make([]byte, 1)
		_, err := conn.Read(first)
		return err == nil
	}
	var held []net.Conn
	for range bound {
		conn := dial("127.0.0.2")
		if !serves(conn) {
			t.Fatal("within the bound, and not served")
		}
		held = append(held, conn)
	}
	const beyond = 20
	for range beyond {
		if serves(dial("127.0.0.2")) {
			t.Error("beyond the bound, and served")
		}
	}
	if !serves(dial("127.0.0.3")) {
		t.Error("another source is not served")
	}
	for _, conn := range held {
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(waitLimit); !serves(dial("127.0.0.2")); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the places are not free again")
		}
	}
	stop()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if refused[BySource] < beyond || refused[ByAll] != 0 {
		t.Errorf("refused %v", refused)
	}
	if n := strings.Count(logged.String(), "connections are refused"); n != 1 {
		t.Errorf("logged %d times: %s", n, logged.String())
	}
}

// TestABoundedConnectionClosesItsHalves: net/http looks for CloseWrite, and the answer to
// a head that is too long is lost where the connection is closed on what was not read.
func TestABoundedConnectionClosesItsHalves(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := Bounds{All: 1}.listen(inner, slog.New(slog.DiscardHandler))
	client, err := net.DialTimeout("tcp", inner.Addr().String(), waitLimit)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		t.Fatalf("a %T cannot close its writing half", conn)
	}
	if err := errors.Join(half.CloseWrite(), client.Close(), conn.Close(), listener.Close()); err != nil {
		t.Error(err)
	}
}
