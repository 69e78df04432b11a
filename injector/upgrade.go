package injector

import "bytes"

// Upgrade offers that would take the connection away from HTTP/1.1 and carry further
// requests, of which none could get its token, are left out of requests where one may
// be due, as RFC 9110 §7.8 lets an intermediary: then the server cannot agree. What
// else is offered stays, such as websocket: that is a use of the one request.

// carriesRequests reports whether more requests would follow in an offered protocol:
// HTTP/2 in plaintext (h2c), HTTP by any version, or HTTP/1.1 within TLS (RFC 2817).
func carriesRequests(offer []byte) bool {
	name, _, _ := bytes.Cut(offer, []byte{'/'})
	return isName(name, "h2c") || isName(name, "h2") || isName(name, "http") || isName(name, "tls")
}

// keptOffers reports whether a head offers a protocol that does not carry requests. It is
// rarely called, and would make the stack of every connection larger.
//
//go:noinline
func keptOffers(head []byte) (kept bool) {
	eachField(head, func(_, _ int, name, value []byte) {
		for isName(name, "upgrade") && len(value) > 0 {
			var offer []byte
			offer, value = nextElement(value)
			kept = kept || len(offer) > 0 && !carriesRequests(offer)
		}
	})
	return kept
}

// withoutOffers takes out of a head, in its place, the offers of protocols that carry
// requests and what belongs to them: HTTP2-Settings, and the names of fields that are
// gone in Connection. All other bytes stay as they are.
func withoutOffers(head []byte) []byte {
	upgrades := keptOffers(head)
	line := bytes.IndexByte(head, '\n') + 1
	out := head[:line]
	eachField(head, func(from, to int, name, _ []byte) {
		switch {
		case isName(name, "http2-settings"):
		case isName(name, "upgrade"):
			out = appendList(out, head[from:to], len(name), carriesRequests)
		case isName(name, "connection"):
			out = appendList(out, head[from:to], len(name), func(option []byte) bool {
				return isName(option, "http2-settings") || !upgrades && isName(option, "upgrade")
			})
		default:
			out = append(out, head[from:to]...)
		}
	})
	return append(out, "\r\n"...)
}

// eachField calls f for each field line of a head that was parsed: head[from:to] with
// its CR LF.
func eachField(head []byte, f func(from, to int, name, value []byte)) {
	for from := bytes.IndexByte(head, '\n') + 1; ; {
		end, next, err := nextLine(head, from)
		if err != nil || next == 0 || end == from {
			return
		}
		if name, value, err := splitField(head, from, end); err == nil {
			f(from, next, name.of(head), value.of(head))
		}
		from = next
	}
}

// appendList appends a field line that is a list, without the elements to drop, and
// nothing if none is left. It writes no more bytes than the line has, and none before
// it has read them, so that the line may lie ahead in the same array.
func appendList(out, line []byte, name int, drop func(element []byte) bool) []byte {
	list := bytes.TrimRight(line[name+1:], "\r\n")
	if !anyElement(list, drop) {
		return append(out, line...)
	}
	start, kept := len(out), 0
	out = append(out, line[:name+1]...)
	for more := true; more; {
		var raw []byte
		raw, list, more = bytes.Cut(list, []byte{','})
		if element := bytes.Trim(raw, " \t"); len(element) == 0 || drop(element) {
			continue
		}
		if kept++; kept > 1 {
			out = append(out, ',')
		}
		out = append(out, raw...)
	}
	if kept == 0 {
		return out[:start]
	}
	return append(out, "\r\n"...)
}

// anyElement reports whether any element of a list is such.
func anyElement(list []byte, such func(element []byte) bool) bool {
	for len(list) > 0 {
		var element []byte
		element, list = nextElement(list)
		if such(element) {
			return true
		}
	}
	return false
}
