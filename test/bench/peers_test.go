//go:build linux

package bench

import (
	"fmt"
	"strings"
)

// Where the origin wants the token, and where it wants none. Anything else is 403.
const (
	withToken    = "/with-token"
	withoutToken = "/without-token"
)

// answer is what the origin always says: about as much as a small API does.
var answer = `{"invoices":[` + strings.Repeat(`{"id":"5d41402abc4b2a76","total":1250},`, 13) + `{}]}`

// startOrigin starts the server behind all arms: one nginx worker that counts its
// requests and wants the right token, and no other.
func (h *host) startOrigin() {
	h.b.Helper()
	config := h.write("origin.conf", h.nginxMain("origin")+fmt.Sprintf(`
	server {
		listen %[1]s:%[2]s backlog=4096;
		default_type application/json;
		location = %[4]s { if ($http_authorization != "Bearer %[6]s") { return 403; } return 200 '%[7]s'; }
		location = %[5]s { if ($http_authorization != "") { return 403; } return 200 '%[7]s'; }
	}
	server {
		listen %[1]s:%[3]s;
		location = / { stub_status; }
	}
}
`, address, originPort, statusPort, withToken, withoutToken, h.token, answer))
	p := h.start("origin", h.server, []string{"nginx", "-c", config, "-e", h.path("origin.log")})
	h.awaitOK(p, h.statusURL())
}

func (h *host) statusURL() string { return "http://" + address + ":" + statusPort + "/" }

// nginxMain is the first part of every nginx configuration here: one worker, which
// is what a second core leaves room for, nothing logged, connections kept.
func (s *stage) nginxMain(name string) string {
	return fmt.Sprintf(`
daemon off;
worker_processes 1;
pid %[1]s.pid;
events { worker_connections 18000; }
http {
	access_log off;
	keepalive_timeout 1h;
	keepalive_requests 1000000000;
	client_body_temp_path %[1]s.body;
	proxy_temp_path %[1]s.proxy;
	fastcgi_temp_path %[1]s.fastcgi;
	uwsgi_temp_path %[1]s.uwsgi;
	scgi_temp_path %[1]s.scgi;
`, s.path(name))
}

// startNginx starts the arm N: reuse of upstream connections at one port, none at
// the other.
func (h *host) startNginx() {
	h.b.Helper()
	config := h.write("nginx.conf", h.nginxMain("nginx")+fmt.Sprintf(`
	upstream origin { server %[1]s:%[2]s; keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 1h; }
	proxy_http_version 1.1;
	proxy_set_header Host %[1]s:%[2]s;
	proxy_set_header Authorization "Bearer %[5]s";
	server {
		listen %[1]s:%[3]s backlog=4096;
		location / { proxy_set_header Connection ""; proxy_set_header Host %[1]s:%[2]s; proxy_set_header Authorization "Bearer %[5]s"; proxy_pass http://origin; }
	}
	server {
		listen %[1]s:%[4]s backlog=4096;
		location / { proxy_set_header Connection close; proxy_set_header Host %[1]s:%[2]s; proxy_set_header Authorization "Bearer %[5]s"; proxy_pass http://%[1]s:%[2]s; }
	}
}
`, address, originPort, nginxPort, nginxNew, h.token))
	h.hop["N"] = h.start("nginx", h.hops, []string{"nginx", "-c", config, "-e", h.path("nginx.log")})
	h.awaitAnswer("N", nginxPort)
	h.awaitAnswer("N", nginxNew)
}

// startHAProxy starts the arm H, in the same way. One thread is what makes it
// cheapest here: with two, requests wander between the cores.
func (h *host) startHAProxy() {
	h.b.Helper()
	config := h.write("haproxy.cfg", fmt.Sprintf(`
global
	maxconn 9000
	nbthread 1
defaults
	mode http
	timeout connect 30s
	timeout client 1h
	timeout server 1h
	timeout http-keep-alive 1h
	option http-keep-alive
frontend kept
	bind %[1]s:%[3]s backlog 4096
	http-request set-header Authorization "Bearer %[5]s"
	default_backend kept
backend kept
	http-reuse always
	server origin %[1]s:%[2]s pool-max-conn -1
frontend new
	bind %[1]s:%[4]s backlog 4096
	http-request set-header Authorization "Bearer %[5]s"
	default_backend new
backend new
	http-reuse never
	option httpclose
	server origin %[1]s:%[2]s
`, address, originPort, haproxyPort, haproxyNew, h.token))
	h.hop["H"] = h.start("haproxy", h.hops, []string{"haproxy", "-db", "-f", config})
	h.awaitAnswer("H", haproxyPort)
	h.awaitAnswer("H", haproxyNew)
}

// awaitAnswer waits until a peer forwards a request with the token.
func (h *host) awaitAnswer(hop, port string) {
	h.b.Helper()
	h.awaitOK(h.hop[hop], "http://"+address+":"+port+withToken)
}
