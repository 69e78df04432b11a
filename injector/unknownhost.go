package injector

import (
	"fmt"
	"strings"
	"sync"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// Bounds of what is remembered of unknown hosts. A program that passes on what
// others ask for, such as a proxy, makes up no more lines than these.
const (
	maxUnknownHosts      = 32   // of one identity
	maxUnknownIdentities = 1024 // names come from the configuration, by years of reloads
)

// unknownHosts remembers which hosts an operator was told of: those that an identity
// names at the address of a destination which lists it, and that no destination has.
type unknownHosts struct {
	mu   sync.Mutex
	told map[string]map[string]struct{} // by identity
}

// first reports whether the host is to be told, and whether it is the last one of this
// identity that is.
func (u *unknownHosts) first(identity, host string) (first, last bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	hosts := u.told[identity]
	if _, known := hosts[host]; known || len(hosts) >= maxUnknownHosts || hosts == nil && len(u.told) >= maxUnknownIdentities {
		return false, false
	}
	if hosts == nil {
		hosts = map[string]struct{}{}
		if u.told == nil {
			u.told = map[string]map[string]struct{}{}
		}
		u.told[identity] = hosts
	}
	hosts[host] = struct{}{}
	return true, len(hosts) == maxUnknownHosts
}

// tellUnknownHost tells the operator of a host that was perhaps to be a destination's:
// what a reverse proxy calls its upstream, or another name of the same server.
func (c *conn) tellUnknownHost(ex *exchange) {
	identity := c.caller.name()
	if ex.anonymous != workload.AnonymousUnknownHost || identity == "" {
		return
	}
	host := c.head.authority.host
	if host == c.toldHost {
		return
	}
	c.toldHost = host
	first, last := c.srv.unknownHosts.first(identity, host)
	if !first {
		return
	}
	d := c.nearby().destination
	args := []any{"identity", identity, "host", host, "destination", d.Name, "address", c.flow.Original.String(),
		"write", fmt.Sprintf("hosts: [%s]", strings.Join(append(d.Hosts[:len(d.Hosts):len(d.Hosts)], host), ", "))}
	if last {
		args = append(args, "further", "hosts of this identity are counted, and told no more")
	}
	c.srv.log.Info("a request names a host that no destination has, at the address of one that lists its program; it goes on without a token. "+
		"If the host is the destination's, add it to its hosts, or have the program send the right Host", args...)
}
