package injector

import (
	"fmt"
	"strings"
)

const (
	toLedger = "Host: ledger.internal\r\n"
	canary   = "GET /canary HTTP/1.1\r\nHost: elsewhere.internal\r\n\r\n"
)

// validRequests are what the corpus of our own is made of: every form of request
// that we forward, and some that are refused for their rule.
var validRequests = []string{
	"GET /a?b=c HTTP/1.1\r\n" + toLedger + "\r\n",
	"GET / HTTP/1.1\r\n" + own + toLedger + "Accept: a/b;q=0.5, c/d\r\n\r\n",
	"GET / HTTP/1.1\r\nauthorization:\tx \r\n" + toLedger + "X:\r\nAUTHORIZATION: y\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: elsewhere.internal\r\n" + own + "\r\n",
	"GET / HTTP/1.1\r\nHost: refusing.internal\r\n" + own + "\r\n",
	"GET / HTTP/1.1\r\nHost: refusing.internal\r\n\r\n",
	"HEAD / HTTP/1.1\r\nHost: Ledger.Internal.:80\r\n\r\n",
	"TRACE / HTTP/1.1\r\n" + toLedger + "\r\n",
	"OPTIONS * HTTP/1.1\r\n" + toLedger + "\r\n",
	"GET http://ledger.internal/x HTTP/1.1\r\n" + toLedger + "\r\n",
	"GET / HTTP/1.0\r\n" + toLedger + "Connection: keep-alive\r\n\r\n",
	"GET / HTTP/1.0\r\n\r\n",
	"DELETE / HTTP/1.1\r\n" + toLedger + "Connection: x, close\r\n\r\n",
	"CONNECT a.internal:443 HTTP/1.1\r\nHost: a.internal:443\r\n\r\n",
	"GET /ws HTTP/1.1\r\n" + toLedger + "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
	"POST / HTTP/1.1\r\n" + toLedger + "Content-Length: 0\r\n\r\n",
	"POST / HTTP/1.1\r\nContent-Length: 11\r\n" + toLedger + "\r\nhello\r\nbody",
	"POST / HTTP/1.1\r\n" + toLedger + own + "Expect: 100-continue\r\nContent-Length: 73\r\n\r\nGET / HTTP/1.1\r\nHost: ledger.internal\r\nAuthorization: Bearer smuggled\r\n\r\n",
	"PUT / HTTP/1.1\r\n" + toLedger + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" + toLedger + own + "\r\n3\r\nabc\r\n0a;x=y;z=\"q\\\" ;\"\r\n0123456789\r\n00;last\r\nX-Sum: 1\r\nY:\r\n\r\n",
}

// delimiters are the bytes on which the structure of a request hangs; every one of
// them is taken away, doubled and replaced by each of the intruders.
const delimiters = "\r\n \t:,;=/.0123456789\"\\"

var intruders = []string{"\r", "\n", "\r\n", " ", "\t", ":", ",", ";", "0", "-", "+", "\x00", "\x0b", "\x7f", "\x80"}

// framings are field lines that say something about where a body ends, each of
// which is added to every valid request.
var framings = framingLines()

func framingLines() (all []string) {
	for _, length := range []string{
		"", "0", "00", "5", "+5", "-5", "-0", "0x5", "5.", "5,5", "5, 6", "5 5", "5;", "١", "1e1", "_5", "5\x00", "\"5\"",
		"18446744073709551616", "18446744073709551621", "9223372036854775808", "4294967296", "99999999999999999999999999",
	} {
		all = append(all, "Content-Length: "+length+"\r\n", "Content-Length: "+length+"\r\nContent-Length: 0\r\n")
	}
	for _, coding := range []string{
		"", "chunked", "Chunked", "CHUNKED", "chunked\t", "\vchunked", "chunked\x00", "chunked;", "chunked;q=1", "\"chunked\"", "'chunked'",
		"xchunked", "chunkedx", "chunked,", ",chunked", "chunked, chunked", "identity", "identity, chunked", "chunked, identity",
		"gzip", "gzip, chunked", "chunked, gzip", "chunk", "c hunked", "chun\u212aed",
	} {
		all = append(all, "Transfer-Encoding: "+coding+"\r\n", "Transfer-Encoding: "+coding+"\r\nContent-Length: 5\r\n",
			"Content-Length: 5\r\nTransfer-Encoding: "+coding+"\r\n", "Transfer-Encoding: "+coding+"\r\nTransfer-Encoding: chunked\r\n")
	}
	for _, line := range []string{
		"Transfer-Encoding : chunked", " Transfer-Encoding: chunked", "Transfer_Encoding: chunked", "Transfer-Encoding\t: chunked",
		"X: y\rTransfer-Encoding: chunked", "X: y\nTransfer-Encoding: chunked", "X: y\r\n Transfer-Encoding: chunked",
		"Transfer-Encoding:\r\n chunked", "Transfer-Encoding:chunked\r\n\tfolded", "Content-Length : 5", "Content\tLength: 5", "Content-Length\x00: 5",
		"Content-Length:\r\n 5", "X: y\nContent-Length: 5", "Transfer\u2010Encoding: chunked", "\xffTransfer-Encoding: chunked",
		"Connection: Authorization", "Connection: close, content-length", "Connection: transfer-encoding", "Connection: host",
		"Host: elsewhere.internal", "Host : elsewhere.internal", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAA", "TE: trailers, chunked",
		"Authorization", "Authorization :x", ": x", "Authorization: x\r\n y",
	} {
		all = append(all, line+"\r\n")
	}
	return all
}

// mutation is a request with one thing changed, and where.
type mutation struct {
	bytes string
	at    int
}

// mutate returns every mutation of a valid request.
func mutate(request string) (all []mutation) {
	for i := range len(request) {
		if strings.IndexByte(delimiters, request[i]) < 0 {
			continue
		}
		before, after := request[:i], request[i+1:]
		all = append(all, mutation{before + after, i}, mutation{before + request[i:i+1] + request[i:], i})
		for _, intruder := range intruders {
			all = append(all, mutation{before + intruder + after, i})
		}
		all = append(all, mutation{before + " " + request[i:], i}, mutation{before + "\x00" + request[i:], i}, mutation{before + "\r" + request[i:], i})
	}
	start := strings.Index(request, "\r\n") + 2
	end := strings.Index(request, "\r\n\r\n") + 2
	for _, lines := range framings {
		all = append(all, mutation{request[:start] + lines + request[start:], start}, mutation{request[:end] + lines + request[end:], end})
	}
	for _, hex := range []string{"ffffffffffffffff", "10000000000000003", "8000000000000000", "0x3", "3 ", " 3", "3;", "3;;a", "3;a=", "3;a=\"", "3\t", "+3", "-3", "३"} {
		if chunk := strings.Index(request, "\r\n3\r\n"); chunk > 0 {
			all = append(all, mutation{request[:chunk+2] + hex + request[chunk+3:], chunk + 2})
		}
	}
	for _, trailer := range []string{"Authorization: Bearer smuggled", "Content-Length: 5", "Transfer-Encoding: chunked", "Host: elsewhere.internal", "X : y", " folded", "X", "Connection: close"} {
		if last := strings.Index(request, "X-Sum"); last > 0 {
			all = append(all, mutation{request[:last] + trailer + "\r\n" + request[last:], last})
		}
	}
	return all
}

func (m mutation) String() string { return fmt.Sprintf("%q changed at %d", m.bytes, m.at) }
