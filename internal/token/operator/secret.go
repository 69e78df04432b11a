package operator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// ErrNotFound says that the authority has nothing of that id for this workload.
var ErrNotFound = errors.New("not found")

// InvalidError says that the authority does not take a request as it is.
type InvalidError struct{ Message string }

// Error repeats the authority's message.
func (e *InvalidError) Error() string { return "invalid request: " + e.Message }

// Secret is a secret that the authority keeps for workloads. It prints without its
// content.
type Secret struct {
	ID          string
	Description string
	CreatedAt   time.Time
	ExpiresAt   time.Time // zero for never
	content     string
}

// Reveal returns the content.
func (s Secret) Reveal() string { return s.content }

// Format implements fmt.Formatter, so that no verb prints the content.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "secret %q (redacted)", s.ID) }

// secretAnswer is the wire form.
type secretAnswer struct {
	ID          string     `json:"id"`
	Content     *string    `json:"content"`
	CreatedAt   time.Time  `json:"created_at"`
	ExpiresAt   *time.Time `json:"expires_at"`
	Description string     `json:"description"`
}

// Secret returns the secret of this id. One that was read a moment ago comes from
// memory, unless refresh asks for the authority's word; where the authority does
// not answer, what is in memory serves longer. ErrNotFound: there is none of that
// id, or not for this workload, which the authority does not tell apart.
func (c *Client) Secret(ctx context.Context, id string, refresh bool) (Secret, error) {
	if !isName(id) || id == "." || id == ".." {
		return Secret{}, fmt.Errorf("read secret: %w: no id of a secret", ErrNotFound)
	}
	return c.secrets.get(ctx, id, refresh, c.readSecret)
}

func (c *Client) readSecret(ctx context.Context, id string) (Secret, error) {
	var out secretAnswer
	if _, err := c.call(ctx, message{method: http.MethodGet}, secretPath+url.PathEscape(id), &out); err != nil {
		return Secret{}, fmt.Errorf("read secret %s: %w", id, classify(err))
	}
	if out.Content == nil {
		return Secret{}, fmt.Errorf("read secret %s: %w", id, answered("without its content"))
	}
	if out.ID != id {
		return Secret{}, fmt.Errorf("read secret %s: %w", id, answered("with another secret"))
	}
	s := Secret{ID: id, Description: out.Description, CreatedAt: out.CreatedAt, content: *out.Content}
	if out.ExpiresAt != nil {
		s.ExpiresAt = *out.ExpiresAt
	}
	return s, nil
}

// Invite has the authority mint a ticket from a factory, which only a workload of
// the role orchestrator may, and returns the ticket's secret.
func (c *Client) Invite(ctx context.Context, factory string) (string, error) {
	var out struct {
		TicketID string `json:"ticket_id"`
	}
	m := message{body: map[string]string{"ticket_factory_id": factory}}
	if _, err := c.call(ctx, m, invitePath, &out); err != nil {
		return "", fmt.Errorf("generate invite: %w", classify(err))
	}
	if !isWord(out.TicketID) {
		return "", fmt.Errorf("generate invite: %w", answered("without a usable ticket_id"))
	}
	return out.TicketID, nil
}

// classify tells apart what the authority can say of an id, or of a request.
func classify(err error) error {
	var a *answerError
	if !errors.As(err, &a) {
		return err
	}
	switch a.status {
	case http.StatusNotFound:
		return fmt.Errorf("%w: %w", ErrNotFound, a)
	case http.StatusBadRequest:
		return &InvalidError{Message: a.message}
	}
	return err
}
