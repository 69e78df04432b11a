package telemetry

import (
	"time"

	"github.com/lanyardhq/lanyard/internal/workload"
)

// Use is one use of a token, or one request or connection that got none: what a
// span, a log line and the request counter say of it. It carries no token, no
// path and no query string.
type Use struct {
	Start   time.Time
	Sent    time.Time // when the request was ready to be sent on; zero if it was not
	End     time.Time
	Outcome workload.Outcome

	Image       workload.Image
	Executable  string // path, or ""
	Identity    string // name, or ""
	Destination string // name of the registered destination, or ""

	Method   string        // request method, or "" where there was no request
	Host     string        // authority of the request, without port
	Peer     workload.Flow // the connection
	Audience string        // of the token
	TokenID  string        // jti of the token, or ""
	Expires  time.Time     // of the token, or zero
	Status   int           // the response's status code, 0 where none was seen

	Traceparent string // the request's own field, or ""
	Tracestate  string // the request's own field, or ""

	Refusal string // short code of why the request is malformed, of a small fixed set, or ""
	Reason  error  // why the outcome is not a success, or nil

	// Anonymous says why it left without its token, where an identity sent it to a
	// destination, or to the address of one; else "".
	Anonymous workload.Anonymous
	Nearby    string // where Destination is "": that whose address it went to, or ""
}
