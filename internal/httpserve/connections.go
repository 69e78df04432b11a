package httpserve

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// ipv6SourceBits is the part of an IPv6 address that stands for one source: who has one
// address mostly has its whole /64.
const ipv6SourceBits = 64

// exemptShare is the part of all connections, one of so many, that only exempt sources
// can take, where there are some.
const exemptShare = 8

// refusalLogInterval is how often it is logged that connections are refused.
const refusalLogInterval = time.Minute

// By which bound a connection is refused.
const (
	BySource = "source"
	ByAll    = "all"
)

// Bounds are those of open connections; what is beyond is closed as soon as it is
// accepted, before TLS. A source is an IPv4 address, or the /64 of an IPv6 address, of the
// connection's peer.
type Bounds struct {
	All       int             // connections; 0 is any number
	PerSource int             // of one source; 0 is any number
	Exempt    []netip.Prefix  // sources that PerSource does not bound, such as trusted proxies
	Refused   func(by string) // is told of each that is refused, BySource or ByAll; may be nil
}

// boundedListener keeps the bounds.
type boundedListener struct {
	net.Listener
	bounds Bounds
	log    *slog.Logger

	mu     sync.Mutex // guards what follows
	open   int
	by     map[netip.Addr]int // open ones of a source; it is forgotten at 0
	logged time.Time
	silent int // refused since then
}

func (b Bounds) listen(listener net.Listener, log *slog.Logger) net.Listener {
	return &boundedListener{Listener: listener, bounds: b, log: log, by: make(map[netip.Addr]int)}
}

// Accept returns the next connection that is within the bounds.
func (l *boundedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		source := sourceOf(conn.RemoteAddr())
		by := l.take(source)
		if by == "" {
			return bounded(conn, sync.OnceFunc(func() { l.release(source) })), nil
		}
		_ = conn.Close()
		l.refused(source, by)
	}
}

// take counts a connection of the source, or returns the bound that it is beyond.
func (l *boundedListener) take(source netip.Addr) (by string) {
	exempt := false
	for _, network := range l.bounds.Exempt {
		exempt = exempt || network.Contains(source)
	}
	unit := unitOf(source)
	all := l.bounds.All
	if !exempt && len(l.bounds.Exempt) > 0 {
		all -= all / exemptShare
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.bounds.All > 0 && l.open >= all:
		return ByAll
	case !exempt && l.bounds.PerSource > 0 && l.by[unit] >= l.bounds.PerSource:
		return BySource
	}
	l.open++
	l.by[unit]++
	return ""
}

func (l *boundedListener) release(source netip.Addr) {
	unit := unitOf(source)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.by[unit]--; l.by[unit] == 0 {
		delete(l.by, unit)
	}
}

// refused tells of a refusal: each to the caller, and the log once a minute.
func (l *boundedListener) refused(source netip.Addr, by string) {
	if l.bounds.Refused != nil {
		l.bounds.Refused(by)
	}
	l.mu.Lock()
	now, open := time.Now(), l.open
	l.silent++
	count := l.silent
	quiet := !l.logged.IsZero() && now.Sub(l.logged) < refusalLogInterval
	if !quiet {
		l.logged, l.silent = now, 0
	}
	l.mu.Unlock()
	if !quiet {
		l.log.Warn("connections are refused: too many are open", "by", by, "source", source, "refused", count, "open", open)
	}
}

// sourceOf is the peer's address, the zero one if it has none.
func sourceOf(peer net.Addr) netip.Addr {
	parsed, err := netip.ParseAddrPort(peer.String())
	if err != nil {
		return netip.Addr{}
	}
	return parsed.Addr().Unmap().WithZone("")
}

// unitOf is what stands for an address.
func unitOf(addr netip.Addr) netip.Addr {
	if !addr.Is6() {
		return addr
	}
	prefix, err := addr.Prefix(ipv6SourceBits)
	if err != nil {
		return addr
	}
	return prefix.Addr()
}

// bounded is the connection, which gives its place back when it is closed. One of TCP
// stays one: net/http closes only its writing half where it has not read all, and the
// client would lose the answer otherwise.
func bounded(conn net.Conn, release func()) net.Conn {
	if tcp, ok := conn.(*net.TCPConn); ok {
		return &boundedTCPConn{TCPConn: tcp, release: release}
	}
	return &boundedConn{Conn: conn, release: release}
}

type boundedTCPConn struct {
	*net.TCPConn
	release func()
}

func (c *boundedTCPConn) Close() error {
	err := c.TCPConn.Close()
	c.release()
	return err
}

type boundedConn struct {
	net.Conn
	release func()
}

func (c *boundedConn) Close() error {
	err := c.Conn.Close()
	c.release()
	return err
}
