package injector

// protocol is what the first bytes of a connection say.
type protocol uint8

const (
	undecided protocol = iota // not enough bytes yet
	http1                     // token SP target SP HTTP/1.x
	notHTTP1                  // anything else, among it TLS and HTTP/2
)

// sniff decides as early as the bytes allow: the first byte of a TLS
// ClientHello is enough. A first line that outgrows a head is HTTP/1 if its
// method is complete (and then refused as too large), else it is not.
func sniff(b []byte) protocol {
	m := 0
	for m < len(b) && classes[b[m]]&tokenByte != 0 {
		m++
	}
	switch {
	case m == len(b) && m >= maxHead:
		return notHTTP1
	case m == len(b):
		return undecided
	case m == 0 || b[m] != ' ':
		return notHTTP1
	}
	t := m + 1
	for t < len(b) && classes[b[t]]&targetByte != 0 {
		t++
	}
	switch {
	case t == len(b) && t >= maxHead:
		return http1
	case t == len(b):
		return undecided
	case t == m+1 || b[t] != ' ':
		return notHTTP1
	}
	return sniffVersion(b[t+1:])
}

func sniffVersion(b []byte) protocol {
	const prefix = "HTTP/1."
	n := min(len(b), len(prefix))
	switch {
	case string(b[:n]) != prefix[:n]:
		return notHTTP1
	case len(b) <= len(prefix):
		return undecided
	case digit(b[len(prefix)]):
		return http1
	}
	return notHTTP1
}
