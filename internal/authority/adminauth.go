package authority

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/jose"
	"github.com/lanyardhq/lanyard/internal/privatefile"
)

// ensureAdminToken makes the first administrator's token, where there is none: in
// the file first and then, as a digest, in the database, so that a crash between
// the two is repaired by the next start.
func (a *Authority) ensureAdminToken(ctx context.Context) error {
	if known, err := a.store.Read(ctx).HasAdminTokens(); err != nil || known {
		return err
	}
	path := a.config.AdminTokenFile
	secret, err := privatefile.ReadGivenSecret(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if secret, err = randomSecret(a.random, secretAdmin); err != nil {
			return err
		}
		if err := privatefile.Create(path, secret); err != nil {
			return fmt.Errorf("make admin token: %w", err)
		}
	case err != nil:
		return fmt.Errorf("take over admin token: %w", err)
	case !hasForm(secret, secretAdmin, secretLength):
		return fmt.Errorf("take over admin token: %s holds something else; move it away, or name another file with LANYARD_ADMIN_TOKEN_FILE", path)
	}
	id, err := randomID(a.random, prefixAdminToken)
	if err != nil {
		return err
	}
	token := store.AdminToken{ID: id, Description: "the first one", Role: resource.RoleAdmin, CreatedAt: a.now()}
	if err := a.store.Write(ctx, func(tx *store.Tx) error { return tx.InsertAdminToken(token, jose.Digest([]byte(secret))) }); err != nil {
		return fmt.Errorf("store admin token: %w", err)
	}
	a.log.InfoContext(ctx, "administrator's token is ready", "file", path)
	return nil
}

// adminEndpoint answers a request of an administrator.
type adminEndpoint func(*http.Request, store.AdminToken) (reply, error)

// admin lets only administrators through, and to changes only those of role admin.
func (a *Authority) admin(inner adminEndpoint) endpoint {
	return func(r *http.Request) (reply, error) {
		token, reason, err := a.adminToken(r)
		if err != nil {
			return reply{}, err
		}
		if reason != "" {
			a.refuseUnauthenticated(r, a.event(r, kindAdmin), reason)
			return reply{}, unauthorized("the administrator's token is missing or wrong")
		}
		if token.Role != resource.RoleAdmin && r.Method != http.MethodGet && r.Method != http.MethodHead {
			event := a.event(r, kindAdmin)
			event.AdminID, event.Reason = token.ID, "role "+token.Role+" may change nothing"
			if err := a.record(r.Context(), event); err != nil {
				return reply{}, err
			}
			return reply{}, &refusal{status: http.StatusForbidden, message: event.Reason}
		}
		return inner(r, token)
	}
}

func (a *Authority) adminToken(r *http.Request) (token store.AdminToken, reason string, err error) {
	secret, ok := bearer(r)
	if !ok {
		return store.AdminToken{}, "no bearer token", nil
	}
	if !hasForm(secret, secretAdmin, secretLength) {
		return store.AdminToken{}, "the bearer token is no administrator's", nil
	}
	// Looked up by digest: the time it takes says nothing about the secret.
	token, err = a.store.Read(r.Context()).AdminTokenBySecret(jose.Digest([]byte(secret)))
	switch {
	case errors.Is(err, store.ErrNotFound):
		return store.AdminToken{}, "no such administrator's token", nil
	case err != nil:
		return store.AdminToken{}, "", err
	case !token.ExpiresAt.IsZero() && !a.now().Before(token.ExpiresAt):
		return store.AdminToken{}, "the administrator's token has expired", nil
	}
	return token, "", nil
}
