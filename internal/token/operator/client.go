package operator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/lanyardhq/lanyard/internal/serverurl"
	"github.com/lanyardhq/lanyard/internal/token"
)

// DefaultTimeout bounds one exchange with the authority.
const DefaultTimeout = 10 * time.Second

// The protocol's paths below the base.
const (
	registerPath = "/v1/register"
	idTokenPath  = "/v1/id_token"
	secretPath   = "/v1/secret/" // and the id
	invitePath   = "/v1/invite"
	newKeyPath   = "/v1/key"
)

// Config is what a Client is made of.
type Config struct {
	Base     string // the operator's base, as the authority has it configured: https://HOST/operator
	StateDir string // absolute path of this identity's own folder; made if missing

	TicketFile string // read when a ticket is needed: until enrolled
	Ticket     Ticket // instead of a file; not another one than the folder was enrolled with
	// Environment is told to the authority at enrolment; it is only our word.
	Environment map[string]string

	// Host is this host's name, kept beside the enrolment, or "".
	Host string

	// Issuer is iss of every token; "" for that of the operator that enrols us.
	Issuer string

	AllowInsecure bool   // accept http to other hosts than this one
	CAFile        string // PEM; trusted instead of the system's CAs, or ""

	TTL     time.Duration // life to ask for, in whole seconds; 0 leaves it to the authority
	Timeout time.Duration // of one exchange; DefaultTimeout if 0

	Now func() time.Time // time.Now if nil
}

// Client is one workload of one operator. It is a token.Source for one identity,
// safe for concurrent use. It touches neither disk nor network before the first
// call; from then on it holds the lock of its state folder until Close.
type Client struct {
	config  Config
	caller  caller
	secrets *secrets

	member atomic.Pointer[member] // nil until enrolled

	life context.Context // until Close; it ends what is done in a turn
	end  context.CancelFunc

	// turn is held, by sending, to enrol, to renew the key and to close: a mutex
	// whose wait ends with a context. It guards what follows.
	turn    chan struct{}
	folder  *folder
	refusal refusal
	closed  bool
}

// member is an enrolled workload: what it takes to ask for tokens.
type member struct {
	enrolment Enrolment
	signer    signer
	next      *key // nil, or the key that the authority may have instead
	former    *key // nil, or the one before, which it may have still if somebody else took this one
	proved    bool // a call by this key has succeeded since it was read or made
}

// New checks the configuration and returns a client.
func New(config Config) (*Client, error) {
	base, err := parseBase(config.Base, config.AllowInsecure)
	if err != nil {
		return nil, err
	}
	config.Base = base
	if err := CheckIssuer(config.Issuer); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(config.StateDir) {
		return nil, fmt.Errorf("make operator client: state folder %q is not an absolute path", config.StateDir)
	}
	if config.Timeout <= 0 {
		config.Timeout = DefaultTimeout
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	roots, err := serverurl.ReadRoots(config.CAFile)
	if err != nil {
		return nil, err
	}
	life, end := context.WithCancel(context.Background())
	return &Client{
		life: life, end: end,
		config: config,
		caller: caller{
			base:    base,
			timeout: config.Timeout,
			clock:   &clock{now: config.Now},
			client: &http.Client{
				Transport:     newTransport(roots, config.Timeout),
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			},
		},
		secrets: newSecrets(config.Now),
		turn:    make(chan struct{}, 1),
	}, nil
}

// WorkloadID returns the workload's id, or "" as long as it has not enrolled in
// this run (Enrol makes it).
func (c *Client) WorkloadID() string {
	if m := c.member.Load(); m != nil {
		return m.enrolment.WorkloadID
	}
	return ""
}

// Fetch obtains an ID token for the request's audience, or one without audience,
// and enrols first if that is still to do. These tokens are bound to the
// workload, not to a subject. Refusals by policy are *token.RefusedError; a
// workload that the authority does not know (any more) is token.ErrNotEnrolled;
// no answer is token.ErrUnreachable; another token than was asked for is
// token.ErrWrongToken.
func (c *Client) Fetch(ctx context.Context, r token.Request) (token.Token, error) {
	body := idTokenRequest{TTLSeconds: int64(c.config.TTL / time.Second)}
	if r.Audience != "" {
		body.Audience = []string{r.Audience}
	}
	var out struct {
		IDToken string `json:"jwt_id_token"`
	}
	received, err := c.call(ctx, message{body: body}, idTokenPath, &out)
	if err != nil {
		return token.Token{}, err
	}
	m := c.member.Load()
	if m == nil {
		return token.Token{}, errClosed
	}
	return parseIDToken(out.IDToken, c.expect(r, m.enrolment), c.caller.clock, received)
}

// Form says that every token of this source is a JWT that was compared with what
// was asked for.
func (c *Client) Form() token.Form { return token.CheckedJWT }

// expect returns what the token for this request must say.
func (c *Client) expect(r token.Request, e Enrolment) expectation {
	want := expectation{
		audience: r.Audience, subject: e.WorkloadID, life: maxTokenLife,
		issuer: issuer{configured: c.config.Issuer, operator: e.OperatorID, base: c.config.Base},
	}
	if c.config.TTL > 0 {
		want.life = c.config.TTL
	}
	return want
}

// idTokenRequest asks for an ID token.
type idTokenRequest struct {
	Audience   []string `json:"audience,omitempty"`
	TTLSeconds int64    `json:"ttl_seconds,omitempty"`
}

// explain says what a refused request for a token means.
func (c *Client) explain(err error, m *member) error {
	var a *answerError
	if !errors.As(err, &a) {
		return err
	}
	switch {
	case a.status == http.StatusForbidden:
		return &token.RefusedError{Message: a.message}
	case a.status == http.StatusUnauthorized && !isClockError(err):
		return fmt.Errorf("%w: the authority does not accept the key of workload %s (%w); "+
			"it lost the workload, as an authority does that was restored from a backup older than the workload or its key, or a copy of %s is used elsewhere and has renewed the key: remove it and enrol anew with a fresh ticket",
			token.ErrNotEnrolled, m.enrolment.WorkloadID, err, c.config.StateDir)
	}
	return err
}

// take waits for the turn. What is done with the context that it returns is cut off by
// Close, which an authority that does not answer must not hold up: an enrolment and a
// renewal can be interrupted anywhere.
func (c *Client) take(ctx context.Context) (turn context.Context, release func(), err error) {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	turn, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.life, func() { cancel(errClosed) })
	return turn, func() {
		stop()
		cancel(nil)
		<-c.turn
	}, nil
}

// Close cuts off an enrolment or a renewal that is under way and lets go of the state
// folder. The client is of no use afterwards.
func (c *Client) Close() error {
	c.end()
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	c.closed = true
	c.member.Store(nil)
	if c.folder == nil {
		return nil
	}
	err := c.folder.close()
	c.folder = nil
	return err
}
