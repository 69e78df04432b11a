package injector

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/lanyardhq/lanyard/internal/telemetry"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// foreignProtocol is what a connection carries that is no HTTP/1.
type foreignProtocol uint8

const (
	unknownProtocol foreignProtocol = iota
	tlsProtocol
	http2Protocol // with prior knowledge, RFC 9113 §3.3
)

func foreignProtocolOf(b []byte) foreignProtocol {
	const handshake = 0x16
	switch {
	case len(b) > 0 && b[0] == handshake:
		return tlsProtocol
	case bytes.HasPrefix(b, []byte("PRI * HTTP/2")):
		return http2Protocol
	}
	return unknownProtocol
}

func (p foreignProtocol) String() string {
	return [...]string{"bytes that are no HTTP/1.1 request", "TLS", "HTTP/2"}[p]
}

// remedy says what an operator can do.
func (p foreignProtocol) remedy() string {
	return [...]string{
		"if another protocol belongs on this port, take the port out of the destination",
		"have the program use http:// here, or take the port out of the destination",
		"have the program speak HTTP/1.1",
	}[p] + "; on_failure: open would let it through without a token"
}

// refuseProtocol ends a connection to a destination that fails closed, as soon as its
// client says something, which is no HTTP/1: no token can be put into that. What a
// server says by itself is passed on, and who only listens is left in peace.
func (c *conn) refuseProtocol(d *workload.Destination) error {
	for len(c.requests.pending()) == 0 && !c.ended && !c.isOver() {
		switch err := c.requests.fill(); err {
		case nil, errKicked:
		case io.EOF:
			c.ended = true
			_ = c.upstream.CloseWrite()
			<-c.over
		default:
			return err
		}
	}
	first := c.requests.pending()
	if len(first) == 0 {
		return errAnswered
	}
	c.endUpstream()
	protocol := foreignProtocolOf(first)
	err := fmt.Errorf("%v at destination %s, which gets nothing without a token (on_failure: closed); %s", protocol, d.Name, protocol.remedy())
	c.warn(warnProtocol, c.caller.name(), "a connection was ended: no token can be put into what it carries", "destination", d.Name,
		"address", c.flow.Original.String(), "image", c.flow.Image.String(), "error", err)
	use := telemetry.Use{Outcome: workload.ProtocolRefused, Destination: d.Name, Reason: err}
	if !c.responses.used && !c.aborted.Load() {
		c.requests.watch.enter(phaseWriting)
		_, failed := c.client.Write(c.farewell(protocol, d, &use))
		c.requests.watch.enter(phaseReading)
		use.Reason = errors.Join(err, failed)
	}
	c.recordConnection(use)
	return errAnswered
}

// farewell says in the client's own protocol, as far as that is known, that and why it
// was ended.
func (c *conn) farewell(p foreignProtocol, d *workload.Destination, use *telemetry.Use) []byte {
	answer := problemProtocol(p, d)
	switch p {
	case tlsProtocol:
		const alert, fatal, accessDenied = 21, 2, 49 // RFC 8446 §6
		return []byte{alert, 3, 3, 0, 2, fatal, accessDenied}
	case http2Protocol:
		return goAway(answer.Detail)
	}
	use.Status = answer.Status
	return answer.response(false)
}

// goAway is a server's connection preface and a GOAWAY with HTTP_1_1_REQUIRED, RFC 9113
// §3.4 and §6.8.
func goAway(debug string) []byte {
	const settings, goaway, http11Required = 4, 7, 0xd
	b := []byte{0, 0, 0, settings, 0, 0, 0, 0, 0}
	size := 8 + len(debug)
	b = append(b, byte(size>>16), byte(size>>8), byte(size), goaway, 0, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, 0) // no stream was looked at
	b = binary.BigEndian.AppendUint32(b, http11Required)
	return append(b, debug...)
}
