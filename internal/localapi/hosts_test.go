package localapi

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// rawAnswers sends one text on one connection and reads the answers to it, so
// that the request is exactly what the test says.
func rawAnswers(t *testing.T, c net.Conn, in *bufio.Reader, requests ...string) (statuses []int, bodies []string) {
	t.Helper()
	for _, request := range requests {
		if _, err := io.WriteString(c, request); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		statuses, bodies = append(statuses, response.StatusCode), append(bodies, string(body))
	}
	return statuses, bodies
}

func dialLocal(t *testing.T, address string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, bufio.NewReader(c)
}

// TestLocalAPIHosts: security.md 6. Both kinds of caller, so that neither the
// key nor the kernel's word is a way around it.
func TestLocalAPIHosts(t *testing.T) {
	const path = "/peer/v1/id_token"
	get := "GET " + path + " HTTP/1.1\r\n"
	host := func(h string) string { return get + "Host: " + h + "\r\n" }
	for _, c := range []struct {
		name, head string
		status     int
	}{
		{"localhost", host("localhost"), 200},
		{"localhost and port", host("localhost:3013"), 200},
		{"other case", host("LocalHost:3013"), 200},
		{"a forwarded port", host("127.0.0.1:9"), 200},
		{"IPv6", host("[::1]"), 200},
		{"IPv6 and port", host("[::1]:3013"), 200},
		{"listening address", host("lanyard.example"), 200},
		{"another name", host("evil.example"), 403},
		{"a name that ends alike", host("evil.localhost"), 403},
		{"a name that begins alike", host("127.0.0.1.evil.example"), 403},
		{"another loopback address", host("127.0.0.2"), 403},
		{"loopback in decimal", host("2130706433"), 403},
		{"loopback in short", host("127.1"), 403},
		{"mapped loopback", host("[::ffff:127.0.0.1]"), 403},
		{"long form of IPv6", host("[0:0:0:0:0:0:0:1]"), 403},
		{"IPv6 with a zone", host("[::1%25lo]"), 403},
		{"brackets around a name", host("[[localhost]]"), 403},
		{"dot at the end", host("localhost."), 403},
		{"user information", host("localhost@evil.example"), 400},
		{"empty", host(""), 403},
		{"none, HTTP/1.0", "GET " + path + " HTTP/1.0\r\n", 403},
		{"none, HTTP/1.1", get, 400},
		{"two", host("localhost") + "Host: evil.example\r\n", 400},
		{"the same twice", host("localhost") + "Host: localhost\r\n", 400},
		{"two names in one", host("localhost, evil.example"), 400},
		{"absolute form hides another Host", "GET http://localhost" + path + " HTTP/1.1\r\nHost: evil.example\r\n", 403},
		{"absolute form", "GET http://localhost" + path + " HTTP/1.1\r\nHost: localhost\r\n", 403},
		{"absolute form of another", "GET http://evil.example" + path + " HTTP/1.1\r\nHost: localhost\r\n", 403},
		{"unknown call, another name", "GET / HTTP/1.1\r\nHost: evil.example\r\n", 403},
		{"path to be cleaned, another name", "GET //peer/v1/id_token HTTP/1.1\r\nHost: evil.example\r\n", 403},
		{"other method, another name", "POST " + path + " HTTP/1.1\r\nContent-Length: 0\r\nHost: evil.example\r\n", 403},
		{"CONNECT", "CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example:80\r\n", 403},
		{"Origin", host("localhost") + "Origin: http://localhost:3013\r\n", 403},
		{"Origin null", host("localhost") + "Origin: null\r\n", 403},
		{"Origin empty", host("localhost") + "oRIGIN:\r\n", 403},
		{"preflight", "OPTIONS " + path + " HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n", 403},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n", 400},
		{"OPTIONS *, another name", "OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n", 403},
		{"OPTIONS * with Origin", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n", 403},
	} {
		for _, caller := range []string{"Lanyard-Workload: 1\r\n", "Authorization: Bearer " + testKey + "\r\n"} {
			t.Run(c.name, func(t *testing.T) {
				conn, in := dialLocal(t, serveLocalAPI(t, fakeFlow{1, workload.FlowLocalAPI}, "keyed"))
				statuses, bodies := rawAnswers(t, conn, in, c.head+caller+"\r\n")
				if statuses[0] != c.status || strings.Contains(bodies[0], "token-of") != (c.status == 200) {
					t.Errorf("%s: got %d %s, want %d", caller, statuses[0], bodies[0], c.status)
				}
			})
		}
	}
}

// TestNobodyIsKnown: without a way to tell who calls, a flow is worth nothing.
func TestNobodyIsKnown(t *testing.T) {
	api := New(Config{Key: NewKey(testKey).Always(), Tokens: fakeTokens{}, Identity: func() string { return "keyed" }})
	r := httptest.NewRequest(http.MethodGet, "/peer/v1/id_token", nil)
	r.Host = "localhost"
	r.Header.Set(WorkloadHeader, "1")
	answered := httptest.NewRecorder()
	api.Handler().ServeHTTP(answered, r.WithContext(context.WithValue(r.Context(), callerKey{}, &caller{flow: &workload.Flow{}})))
	if answered.Code != http.StatusUnauthorized {
		t.Errorf("got %d %s", answered.Code, answered.Body)
	}
}

// TestLocalAPIHeaderOfAWorkload: security.md 6, the header is exactly that.
func TestLocalAPIHeaderOfAWorkload(t *testing.T) {
	for header, status := range map[string]int{
		"Lanyard-Workload: 1": 200, "lanyard-workload: 1": 200, "": 401, "Lanyard-Workload:": 401, "Lanyard-Workload: 0": 401,
		"Lanyard-Workload: true": 401, "Lanyard-Workload: 11": 401, "Lanyard_Workload: 1": 401, "X-Lanyard-Workload: 1": 401,
		"Authorization: Basic Og==": 401, "Authorization: Bearer ": 401,
		"Lanyard-Workload: 1\r\nAuthorization: Bearer wrong": 401, "Lanyard-Workload: 1\r\nAuthorization: bearer wrong": 401,
		"Authorization: Bearer " + testKey + "\r\nAuthorization: Bearer " + testKey: 401,
	} {
		t.Run(header, func(t *testing.T) {
			conn, in := dialLocal(t, serveLocalAPI(t, fakeFlow{1, workload.FlowLocalAPI}, "keyed"))
			if header != "" {
				header += "\r\n"
			}
			statuses, bodies := rawAnswers(t, conn, in, "GET /peer/v1/id_token HTTP/1.1\r\nHost: localhost\r\n"+header+"\r\n")
			if statuses[0] != status {
				t.Errorf("got %d %s, want %d", statuses[0], bodies[0], status)
			}
		})
	}
}
