package injector

// words are what messages are made of: go's fuzzer changes bytes and has no
// dictionary, and would spell no field name in an hour. In a fuzzer's input a byte
// above ASCII stands for one of them, see spell.
var words = []string{
	"\r\n", "\r\n\r\n", "GET ", "POST ", "HEAD ", "CONNECT ", "OPTIONS ", "TRACE ", " HTTP/1.1\r\n", " HTTP/1.0\r\n",
	"http://", "ledger.internal", "ledger.internal:80", "[::1]", "/../", "%2e", "Host: ", "hOST:", "Host: ledger.internal\r\n",
	"GET / HTTP/1.1\r\nHost: ledger.internal\r\n", "POST / HTTP/1.1\r\nHost: ledger.internal\r\n",
	"Authorization: ", "Authorization: mine\r\n", "Content-Length: ", "Content-Length: 3\r\n", "Content-Length: 0\r\n",
	"Transfer-Encoding: ", "Transfer-Encoding: chunked\r\n", "chunked", "identity", "gzip, ", "Connection: ", "Connection: close\r\n",
	"Connection: keep-alive\r\n", "close", "keep-alive", "Upgrade: ", "Upgrade: websocket\r\nConnection: upgrade\r\n",
	"Expect: 100-continue\r\n", "Trailer: ", "TE: ", "Cookie: ", "Proxy-Authorization: ", "Traceparent: ", "Tracestate: ", "Pragma: no-cache\r\n",
	"0\r\n\r\n", "0\r\n", "3\r\nabc\r\n", "5;a=\"b\"\r\nhello\r\n", "ffffffffffffffff", "0x", "\r\n \t", " : ", "\x00", "\x7f", "\n", "\t",
	"HTTP/1.1 ", "HTTP/1.0 ", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n",
	"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\n", "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
}

// spell writes the words out. The last byte value stands before a byte that is
// meant as it is.
func spell(in []byte) []byte {
	const literal = 0xff
	out := make([]byte, 0, 2*len(in))
	for i := 0; i < len(in); i++ {
		switch w := int(in[i]) - 0x80; {
		case in[i] == literal && i+1 < len(in):
			i++
			out = append(out, in[i])
		case w >= 0 && w < len(words):
			out = append(out, words[w]...)
		default:
			out = append(out, in[i])
		}
	}
	return out
}
