package injector

import (
	"bytes"
	"slices"
	"strings"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// At the address of a destination that a token may be due to, a doubtful request for
// another host of that address is nobody's business either. It is read once more,
// leniently: if what is doubtful frames and routes nothing, and no registered host is
// anywhere in it, it goes on as it is. The connection ends after that exchange: were
// the server to see another end of it, no request of an identity follows.

// rereads reports whether the head is read once more, from its beginning, passing over
// what may be passed over.
func (c *conn) rereads(err error) bool {
	bad, ok := err.(*refusal)
	if !ok || c.head.lenient || c.harmless() {
		return false
	}
	switch bad {
	case errBareLF, errFieldCount, errFieldName, errFieldValue, errTwoLengths:
		c.head.reset()
		c.limitHead()
		c.head.lenient = true
		return true
	}
	return false
}

// sendDoubtful sends a request on that was read leniently, if it is for another host.
func (c *conn) sendDoubtful(ex *exchange) error {
	h, p := &c.head, c.place()
	b := c.requests.pending()[:h.size()]
	if h.hosts != 1 || h.form != originForm || h.authority.host == "" || c.mentionsDestination(b) {
		ex.use.Outcome = workload.NotHTTP
		return c.refuseOrRelay(ex, h.doubt)
	}
	ex.use.Outcome, ex.use.Reason, ex.use.Refusal = workload.NoDestination, h.doubt, h.doubt.code
	if p.listed {
		ex.anonymous, ex.nearby = workload.AnonymousDoubtful, p.destination.Name
	}
	h.close = true // nothing follows
	return c.send(ex)
}

// mentionsDestination reports whether any host of a destination with this port is in a
// head, wherever: some reader might take that for the request's.
func (c *conn) mentionsDestination(head []byte) bool {
	lower := bytes.ToLower(head)
	for _, d := range c.caller.policy.AtPort(c.flow.Original.Port()) {
		if slices.ContainsFunc(d.Hosts, func(host string) bool {
			return bytes.Contains(lower, []byte(strings.TrimPrefix(host, "*.")))
		}) {
			return true
		}
	}
	return false
}

// line finds the next line of a head.
func (h *head) line(b []byte) (end, next int, err error) {
	end, next, err = nextLine(b, h.next)
	if err == nil || h.pass(errBareLF) != nil {
		return end, next, err
	}
	end = h.next + bytes.IndexByte(b[h.next:], '\n')
	return end, end + 1, nil
}

// pass passes over what is wrong where the head is read leniently.
func (h *head) pass(bad *refusal) error {
	if !h.lenient {
		return bad
	}
	if h.doubt == nil {
		h.doubt = bad
	}
	return nil
}

// passField passes over a malformed field line that no reader could take for one that
// frames or routes.
func (h *head) passField(err error, line []byte) error {
	bad, ok := err.(*refusal)
	if !ok || bad == errFold {
		return err
	}
	lower := bytes.ToLower(line)
	for _, name := range []string{"host", "length", "encoding", "connection", "upgrade"} {
		if bytes.Contains(lower, []byte(name)) {
			return err
		}
	}
	return h.pass(bad)
}

// passLength passes over a second Content-Length that is the same as the first.
func (h *head) passLength(err error, value []byte) error {
	if n, ok := parseLength(value); err != errTwoLengths || !ok || n != h.length {
		return err
	}
	return h.pass(errTwoLengths)
}
