package localapi

import (
	"context"
	"fmt"
	"net"

	"github.com/lanyardhq/lanyard/internal/admission"
	"github.com/lanyardhq/lanyard/internal/logbudget"
	"github.com/lanyardhq/lanyard/internal/workload"
)

type callerKey struct{}

// caller is who made the connection that a request came on, as far as it is known.
type caller struct {
	conn  net.Conn
	gate  *admission.Gate
	party workload.Party
	flow  *workload.Flow // what the connect hook recorded, or nil
	// proven is whose the caller's key was. Requests of one connection follow each
	// other, so it needs no lock.
	proven string
}

// callerOf returns who made the request's connection. Without a server of NewServer
// nothing is known.
func callerOf(ctx context.Context) *caller {
	if c, ok := ctx.Value(callerKey{}).(*caller); ok {
		return c
	}
	return &caller{}
}

// recognise keeps the connection when others want its place.
func (c *caller) recognise(identity string) {
	if c.gate != nil {
		c.gate.Recognise(c.conn, identity)
	}
}

// source is whom log lines about the caller are charged to.
func (c *caller) source() logbudget.Source { return logbudget.Stranger(c.party) }

// String says in a log line who it is.
func (c *caller) String() string {
	if c.flow != nil {
		return fmt.Sprintf("user %d, %v", c.flow.UID, c.flow.Image)
	}
	return c.party.String()
}
