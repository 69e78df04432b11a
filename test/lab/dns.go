//go:build linux

package lab

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// maxDNSMessage is the largest query the name server reads, in bytes.
const maxDNSMessage = 4096

// DNS is a name server whose answers a test can change at any time. Its methods
// are safe for concurrent use.
type DNS struct {
	conn net.PacketConn

	mu      sync.Mutex
	names   map[string][]netip.Addr // lower case, without trailing dot
	some    map[string]int          // how many of the addresses an answer has, if not all
	queries map[string]int
}

// StartDNS starts a name server on port 53 of an address, in a network namespace
// or, when ns is nil, in the test's own. It answers over UDP only.
func StartDNS(t testing.TB, ns *NetNS, address netip.Addr) *DNS {
	t.Helper()
	server := &DNS{names: map[string][]netip.Addr{}, some: map[string]int{}, queries: map[string]int{}}
	listen := func() (err error) {
		server.conn, err = net.ListenPacket("udp", netip.AddrPortFrom(address, 53).String())
		return err
	}
	in := func(f func() error) error { return f() }
	if ns != nil {
		in = ns.Do
	}
	if err := in(listen); err != nil {
		t.Fatalf("start name server: %v", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.serve()
	}()
	t.Cleanup(func() {
		server.conn.Close()
		<-done
	})
	return server
}

// Set makes the name resolve to these addresses from now on. Without addresses
// the name exists but has none.
func (d *DNS) Set(name string, addresses ...netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names[normalName(name)] = addresses
	delete(d.some, normalName(name))
}

// SetSome is Set for a name of whose addresses each answer has only so many, by
// chance.
func (d *DNS) SetSome(name string, each int, addresses ...netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names[normalName(name)], d.some[normalName(name)] = slices.Clone(addresses), each
}

// Remove makes the name unknown.
func (d *DNS) Remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.names, normalName(name))
}

// Queries returns how often the name was asked for, A and AAAA together.
func (d *DNS) Queries(name string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queries[normalName(name)]
}

// Files writes a resolv.conf that names this server alone, a hosts file that
// names only localhost and an nsswitch.conf that asks both, and returns them for
// Place.Files.
func (d *DNS) Files(t testing.TB) map[string]string {
	t.Helper()
	host, _, err := net.SplitHostPort(d.conn.LocalAddr().String())
	if err != nil {
		t.Fatalf("read address of name server: %v", err)
	}
	contents := map[string]string{
		"/etc/resolv.conf":   "nameserver " + host + "\noptions timeout:1 attempts:2\n",
		"/etc/hosts":         "127.0.0.1 localhost\n::1 localhost\n",
		"/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
	}
	folder := t.TempDir()
	files := map[string]string{}
	for path, content := range contents {
		instead := filepath.Join(folder, filepath.Base(path))
		if err := os.WriteFile(instead, []byte(content), 0o644); err != nil {
			t.Fatalf("write %s: %v", path, err)
		}
		files[path] = instead
	}
	// Programs under another user must be able to read them.
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatalf("open folder: %v", err)
	}
	return files
}

func (d *DNS) serve() {
	buffer := make([]byte, maxDNSMessage)
	for {
		n, peer, err := d.conn.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		if answer, err := d.answer(buffer[:n]); err == nil {
			_, _ = d.conn.WriteTo(answer, peer)
		}
	}
}

// answer builds the response to one query with one question.
func (d *DNS) answer(query []byte) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil {
		return nil, err
	}
	question, err := parser.Question()
	if err != nil {
		return nil, err
	}
	addresses, known := d.lookUp(question.Name.String())
	response := dnsmessage.Message{
		Header: dnsmessage.Header{
			ID: header.ID, Response: true, Authoritative: true,
			RecursionDesired: header.RecursionDesired, RecursionAvailable: true,
		},
		Questions: []dnsmessage.Question{question},
	}
	if !known {
		response.RCode = dnsmessage.RCodeNameError
	}
	for _, address := range addresses {
		if body := record(question.Type, address); body != nil {
			response.Answers = append(response.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 1},
				Body:   body,
			})
		}
	}
	return response.Pack()
}

func (d *DNS) lookUp(name string) ([]netip.Addr, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name = normalName(name)
	d.queries[name]++
	addresses, known := d.names[name]
	if each, some := d.some[name]; some {
		rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
		addresses = slices.Clone(addresses[:each]) // the rest is shuffled again meanwhile
	}
	return addresses, known
}

// record returns the address as the kind of record that was asked for, or nil.
func record(kind dnsmessage.Type, address netip.Addr) dnsmessage.ResourceBody {
	switch {
	case kind == dnsmessage.TypeA && address.Is4():
		return &dnsmessage.AResource{A: address.As4()}
	case kind == dnsmessage.TypeAAAA && address.Is6():
		return &dnsmessage.AAAAResource{AAAA: address.As16()}
	}
	return nil
}

func normalName(name string) string {
	return strings.ToLower(strings.TrimSuffix(name, "."))
}
