package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/lanyardhq/lanyard/internal/token"
)

// refusalPause is how long a refused enrolment is not tried again, whoever asks:
// several keys of a cache, and the local API, share one client.
const refusalPause = time.Second

// errClosed says that a client was used after Close.
var errClosed = errors.New("operator client is closed")

// ErrOtherBase says that a state folder belongs to an enrolment elsewhere.
var ErrOtherBase = errors.New("enrolled at another operator")

// refusal remembers that the authority refused to enrol us.
type refusal struct {
	err   error
	until time.Time
}

// Enrol enrols the workload with its ticket, unless it has been already, and
// returns its enrolment. Fetch does that by itself.
func (c *Client) Enrol(ctx context.Context) (Enrolment, error) {
	m, err := c.enrolled(ctx)
	if err != nil {
		return Enrolment{}, err
	}
	return m.enrolment, nil
}

// enrolled returns the enrolled workload, after its folder was read or it was
// registered.
func (c *Client) enrolled(ctx context.Context) (*member, error) {
	if m := c.member.Load(); m != nil {
		return m, nil
	}
	ctx, release, err := c.take(ctx)
	if err != nil {
		return nil, fmt.Errorf("wait for enrolment: %w", err)
	}
	defer release()
	if m := c.member.Load(); m != nil {
		return m, nil
	}
	if c.closed {
		return nil, errClosed
	}
	if c.refusal.err != nil && c.config.Now().Before(c.refusal.until) {
		return nil, c.refusal.err
	}
	m, err := c.recallOrRegister(ctx)
	if err != nil {
		return nil, err
	}
	c.member.Store(m)
	return m, nil
}

// recallOrRegister opens the state folder and reads the enrolment, or makes it.
func (c *Client) recallOrRegister(ctx context.Context) (*member, error) {
	if c.folder == nil {
		f, err := openFolder(ctx, c.config.StateDir)
		if err != nil {
			return nil, err
		}
		c.folder = f
	}
	k, err := c.folder.key(keyFile)
	if err != nil {
		return nil, err
	}
	e, err := c.folder.enrolment()
	if err != nil {
		return nil, err
	}
	switch {
	case e == nil:
		return c.register(ctx, k)
	case k == nil:
		return nil, fmt.Errorf("read private key: %s has an enrolment but no %s; %s", c.config.StateDir, keyFile, startAnew)
	case e.Base != c.config.Base:
		return nil, fmt.Errorf("%w: %s holds workload %s of %s, but the operator base is now %s; set the base back, or name another state folder and a ticket of the new operator",
			ErrOtherBase, c.config.StateDir, e.WorkloadID, e.Base, c.config.Base)
	}
	if err := c.checkTicket(e); err != nil {
		return nil, err
	}
	next, former, err := c.folder.otherKeys(k)
	if err != nil {
		return nil, err
	}
	return &member{enrolment: *e, signer: c.signer(k), next: next, former: former}, nil
}

func (c *Client) signer(k *key) signer {
	return signer{key: k, base: c.config.Base}
}

// registration is the protocol's request to enrol.
type registration struct {
	Ticket      string            `json:"ticket"`
	Key         json.RawMessage   `json:"jwk"`
	Proof       string            `json:"proof"`
	Environment map[string]string `json:"environment,omitempty"`
}

// register enrols with the ticket. It makes the key first if there is none: from
// then on it can be interrupted anywhere and repeated, because the authority
// answers the same ticket and key with the same workload.
func (c *Client) register(ctx context.Context, k *key) (*member, error) {
	ticket, err := c.ticket()
	if err != nil {
		return nil, err
	}
	if k == nil {
		if k, err = c.folder.makeKey(keyFile); err != nil {
			return nil, err
		}
	}
	s := c.signer(k)
	e := Enrolment{Base: c.config.Base}
	_, err = c.caller.exchange(ctx, registerPath, func(at time.Time) (message, error) {
		proof, err := s.registration(ticket, at)
		return message{ticket: ticket.secret, body: registration{
			Ticket: ticket.secret, Key: k.public, Proof: proof, Environment: c.config.Environment,
		}}, err
	}, &e)
	if err != nil {
		return nil, c.explainRefusal(err)
	}
	e.TicketSHA256, e.Host = ticket.digest(), c.config.Host
	e.Base = c.config.Base // whatever the answer says
	if !isName(e.WorkloadID) || !isName(e.OperatorID) {
		return nil, fmt.Errorf("enrol at %s: the answer names no usable workload_id and operator_id; is this the operator's base?", c.config.Base)
	}
	if err := c.folder.writeEnrolment(&e); err != nil {
		return nil, err
	}
	return &member{enrolment: e, signer: s}, nil
}

// explainRefusal says what a refused enrolment can mean, which the authority on
// purpose does not, and remembers it for a moment.
func (c *Client) explainRefusal(err error) error {
	var a *answerError
	if !errors.As(err, &a) || a.status < 400 || a.status >= 500 || errors.Is(err, token.ErrUnreachable) {
		return err
	}
	if isClockError(err) {
		return fmt.Errorf("enrol at %s: %w", c.config.Base, err)
	}
	hint := "the authority does not say why on purpose: its activity does"
	if a.status == http.StatusUnauthorized {
		ticket := "the ticket"
		if c.config.TicketFile != "" {
			ticket += " in " + c.config.TicketFile
		}
		hint = ticket + " may be wrong, expired, used up, closed or deactivated, or this host's address not allowed; " +
			"the authority's activity says which"
	}
	refused := fmt.Errorf("%w: enrolment at %s refused: %w; %s", token.ErrNotEnrolled, c.config.Base, err, hint)
	c.refusal = refusal{err: refused, until: c.config.Now().Add(refusalPause)}
	return refused
}
