//go:build linux

package bench

import "github.com/lanyardhq/lanyard/test/lab"

// arm is one way for requests to reach the origin. Each adds one thing.
type arm struct {
	name, what string
	cgroup     *lab.Cgroup // of the client
	managed    bool        // the client is one that the agent has an identity for
	sends      bool        // the client sends the token itself
	path       string      // what it requests: whether a token is to arrive
	kept, new  string      // ports: for kept connections, and for one per request
}

// arms returns every arm by its name.
func (h *host) arms() map[string]arm {
	all := map[string]arm{}
	for _, a := range []arm{
		{name: "D", what: "direct, no token", cgroup: h.direct, path: withoutToken, kept: originPort, new: originPort},
		{name: "B", what: "a bystander under the agent's hooks, no token", cgroup: h.watched, path: withoutToken, kept: originPort, new: originPort},
		{name: "T", what: "the client sends the token itself", cgroup: h.direct, sends: true, path: withToken, kept: originPort, new: originPort},
		{name: "R", what: "our redirect into our own engine, nothing parsed (the client sends the token)", cgroup: h.relayed, sends: true, path: withToken, kept: originPort, new: originPort},
		{name: "P", what: "Lanyard", cgroup: h.watched, managed: true, path: withToken, kept: originPort, new: originPort},
		{name: "H", what: "HAProxy, http-request set-header", cgroup: h.direct, path: withToken, kept: haproxyPort, new: haproxyNew},
		{name: "N", what: "nginx, proxy_set_header", cgroup: h.direct, path: withToken, kept: nginxPort, new: nginxNew},
	} {
		all[a.name] = a
	}
	return all
}

// load is how requests are made.
type load struct {
	what        string
	perRequest  bool    // a connection for each request
	connections int     // at once
	rate        float64 // requests a second, or 0 for as many as possible
	timed       bool    // how long each request takes is wanted
}

// connections that clients hold at once.
const (
	keptConnections = 32
	newConnections  = 16
)

// url is where an arm's client sends its requests.
func (a arm) url(l load) string {
	port := a.kept
	if l.perRequest {
		port = a.new
	}
	return "http://" + address + ":" + port + a.path
}
