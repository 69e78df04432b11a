package authority

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// secretResponse is the body of GET /operator/v1/secret/{id}. Every member is there.
type secretResponse struct {
	ID          string     `json:"id"`
	Content     string     `json:"content"`
	CreatedAt   time.Time  `json:"created_at"`
	ExpiresAt   *time.Time `json:"expires_at"` // null: never
	Description string     `json:"description"`
}

// readSecret gives a workload a secret, if it has every tag of it. Whether there is
// one that it may not read, it does not learn.
func (a *Authority) readSecret(r *http.Request, who caller) (reply, error) {
	event := a.event(r, kindSecret)
	event.Resource = secretAskedFor(r)
	var secret store.Secret
	var content string
	err := a.decide(r, who, event, func(tx *store.Tx, now store.Enrolled, event *store.Event) (refused *refusal, err error) {
		secret, event.Reason, err = findSecret(tx.Queries, r.PathValue("id"), now.Ticket.Tags, event.At)
		if err != nil || event.Reason != "" {
			return noSuchSecret(), err
		}
		content, err = a.box.OpenSecret(secret.ID, secret.Sealed)
		return nil, err
	})
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusOK, body: secretResponse{
		ID: secret.ID, Content: content, CreatedAt: secret.CreatedAt, ExpiresAt: orNil(secret.ExpiresAt), Description: secret.Description,
	}}, nil
}

// noSuchSecret says only that there is none; the event says why.
func noSuchSecret() *refusal {
	return &refusal{status: http.StatusNotFound, message: "there is no secret of that id for this workload"}
}

// findSecret returns the secret, or the reason why there is none for a workload with
// the tags.
func findSecret(q store.Queries, id string, tags []string, now time.Time) (secret store.Secret, reason string, err error) {
	if !isSecretName(id) {
		return store.Secret{}, "no such secret", nil
	}
	secret, err = q.Secret(id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return store.Secret{}, "no such secret", nil
	case err != nil:
		return store.Secret{}, "", err
	case hasExpired(secret, now):
		return store.Secret{}, "the secret expired at " + secret.ExpiresAt.Format(time.RFC3339), nil
	}
	var missing []string
	for _, tag := range secret.Tags {
		if !slices.Contains(tags, tag) {
			missing = append(missing, tag)
		}
	}
	if len(missing) > 0 {
		return store.Secret{}, "tags: the ticket lacks " + strings.Join(missing, ", "), nil
	}
	return secret, "", nil
}

// secretAskedFor is the resource that the request names, "" if it names none. What is
// no name stays out of the activity: it may be anything, of any length.
func secretAskedFor(r *http.Request) string {
	id := r.PathValue("id")
	if !isSecretName(id) {
		return ""
	}
	return resource.KindSecret + "/" + id
}

func isSecretName(id string) bool {
	return chosenName.MatchString(id) || hasForm(id, prefixSecret, idLength)
}
