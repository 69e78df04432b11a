package injector

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// problem is an answer of our own, RFC 9457. Its detail is for whoever operates
// the host; it names things and quotes neither requests nor tokens.
type problem struct {
	Type    string           `json:"type"`
	Title   string           `json:"title"`
	Status  int              `json:"status"`
	Detail  string           `json:"detail"`
	Outcome workload.Outcome `json:"outcome"`
}

// reasons are the reason phrases of the statuses that we answer with.
var reasons = map[int]string{
	400: "Bad Request", 403: "Forbidden", 408: "Request Timeout", 431: "Request Header Fields Too Large",
	501: "Not Implemented", 503: "Service Unavailable", 505: "HTTP Version Not Supported",
}

func newProblem(status int, outcome workload.Outcome, title, detail string) *problem {
	return &problem{
		Type:  "urn:lanyard:problem:" + strings.ReplaceAll(string(outcome), "_", "-"),
		Title: title, Status: status, Detail: detail, Outcome: outcome,
	}
}

func problemAmbiguous(tie *workload.AmbiguousError, d *workload.Destination) *problem {
	return newProblem(503, workload.IdentityAmbiguous, "More than one identity matches this program",
		fmt.Sprintf("Identities %s match the calling program equally well, and destination %s lists at least one of them. "+
			"Make the match of one of them more specific; `lanyard check` shows which processes match what.",
			strings.Join(tie.Identities, " and "), d.Name))
}

func problemToken(r token.Request, d *workload.Destination) *problem {
	return newProblem(503, workload.TokenUnavailable, "No token for this request",
		fmt.Sprintf("Identity %s could not obtain a token for audience %q of destination %s. "+
			"The cause is in the log of the lanyard agent on this host; look first whether the authority is reachable and the identity's ticket is valid.",
			r.Identity, r.Audience, d.Name))
}

func problemUnsure(d *workload.Destination) *problem {
	return newProblem(503, workload.TokenUnavailable, "Not known who made this connection",
		fmt.Sprintf("Destination %s gets no request of its identities without a token (on_failure: closed), and the program that made this connection "+
			"could not be looked at, or has exited or executed another one since. The cause is in the log of the lanyard agent on this host; "+
			"a program that is replaced has to connect anew.", d.Name))
}

func problemRefused(d *workload.Destination) *problem {
	return newProblem(403, workload.Refused, "The program sent its own credentials",
		fmt.Sprintf("Destination %s refuses requests that carry their own Authorization (existing_authorization: refuse). "+
			"Remove it from the program, or set existing_authorization to replace or keep.", d.Name))
}

func problemBadRequest(r *refusal, l *Limits) *problem {
	if limit := r.limit(l); limit != "" {
		return newProblem(r.status, workload.BadRequest, "The request is beyond a limit of the lanyard agent on this host",
			"The request was not forwarded, since "+r.reason+", which is "+limit+" here. Correct the program, or raise the limit in the agent's configuration.")
	}
	return newProblem(r.status, workload.BadRequest, "The request cannot be forwarded safely",
		"Another HTTP server could understand this request in another way: "+r.reason+". The program or its HTTP library has to be corrected.")
}

func problemProtocol(p foreignProtocol, d *workload.Destination) *problem {
	return newProblem(400, workload.ProtocolRefused, "No token can be put into this connection",
		fmt.Sprintf("Destination %s gets nothing of its identities without a token (on_failure: closed), and this connection carries %v. "+
			"To the operator: %s.", d.Name, p, p.remedy()))
}

// response renders the answer. The connection is always closed after it.
func (p *problem) response(headOnly bool) []byte {
	body, err := json.Marshal(p)
	if err != nil { // a struct of strings and an int
		body = []byte("{}")
	}
	b := []byte("HTTP/1.1 " + strconv.Itoa(p.Status) + " " + reasons[p.Status] +
		"\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\nConnection: close\r\nContent-Length: " +
		strconv.Itoa(len(body)) + "\r\n\r\n")
	if headOnly {
		return b
	}
	return append(b, body...)
}
