package injector

import (
	"github.com/lanyardhq/lanyard/internal/logbudget"
	"github.com/lanyardhq/lanyard/internal/token"
	"github.com/lanyardhq/lanyard/internal/workload"
)

// Kinds of warnings. Each has a budget for each source: a peer must not be able
// to fill the log, nor to silence what is said about another.
const (
	warnNoFlow      = "no_flow"
	warnFull        = "full"
	warnAccept      = "accept"
	warnAttribution = "attribution"
	warnUnverified  = "unverified"
	warnFailure     = "failure"
	warnProtocol    = "protocol"
	warnResponse    = "response"
	warnTarget      = "target"
)

// warn logs what nobody in particular caused.
func (s *Server) warn(kind, msg string, args ...any) {
	s.budget.Warn(s.log, kind, logbudget.Source{}, msg, args...)
}

// warn logs what the caller of this connection caused: on the account of its
// identity, or of its party where that is empty.
func (c *conn) warn(kind, identity, msg string, args ...any) {
	source := logbudget.Stranger(c.flow.Party())
	if identity != "" {
		source = logbudget.Identity(identity)
	}
	c.srv.budget.Warn(c.srv.log, kind, source, msg, args...)
}

// warnAt is warn about what happens at a destination.
func (c *conn) warnAt(d *workload.Destination, kind, identity, msg string, args ...any) {
	source := logbudget.Stranger(c.flow.Party())
	if identity != "" {
		source = logbudget.Identity(identity).At(d.Name)
		args = append([]any{"identity", identity}, args...)
	}
	c.srv.budget.Warn(c.srv.log, kind, source, msg, args...)
}

// failureKind tells the causes apart for which a token that is due is not there: one
// must not hide another.
func failureKind(outcome workload.Outcome, err error) string {
	kind := warnFailure + " " + string(outcome)
	if outcome == workload.TokenUnavailable {
		kind += " " + string(token.ReasonOf(err))
	}
	return kind
}
