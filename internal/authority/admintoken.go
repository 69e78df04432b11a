package authority

import (
	"net/http"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/jose"
)

// adminTokens is the kind of administrators' tokens.
func (a *Authority) adminTokens() kind[resource.AdminTokenSpec, resource.AdminTokenStatus] {
	return kind[resource.AdminTokenSpec, resource.AdminTokenStatus]{
		name: resource.KindAdminToken, path: resource.AdminTokensPath, noun: "admin_token",
		newName: func() (string, error) { return randomID(a.random, prefixAdminToken) },
		check:   checkAdminTokenSpec,
		mark:    func(event *store.Event, name string) { event.Resource = resource.KindAdminToken + "/" + name },
		show: func(q store.Queries, name string, _ time.Time) (declared[resource.AdminTokenSpec, resource.AdminTokenStatus], error) {
			token, err := q.AdminToken(name)
			return declaredAdminToken(token), err
		},
		list: func(q store.Queries, after string, limit int, _ time.Time) ([]declared[resource.AdminTokenSpec, resource.AdminTokenStatus], error) {
			tokens, err := q.AdminTokens(after, limit)
			all := make([]declared[resource.AdminTokenSpec, resource.AdminTokenStatus], len(tokens))
			for i, token := range tokens {
				all[i] = declaredAdminToken(token)
			}
			return all, err
		},
		insert: func(tx *store.Tx, name string, spec resource.AdminTokenSpec, now time.Time) (minted, error) {
			secret, err := randomSecret(a.random, secretAdmin)
			if err != nil {
				return minted{}, err
			}
			return minted{token: secret}, tx.InsertAdminToken(adminTokenOf(name, spec, now), jose.Digest([]byte(secret)))
		},
		update: func(tx *store.Tx, name string, spec resource.AdminTokenSpec, now time.Time) error {
			if err := keepAnAdministrator(tx, name, spec.Role == resource.RoleAdmin && (spec.ExpiresAt == nil || spec.ExpiresAt.After(now)), now); err != nil {
				return err
			}
			return tx.UpdateAdminToken(adminTokenOf(name, spec, now))
		},
		remove: func(tx *store.Tx, name string) error {
			if err := keepAnAdministrator(tx, name, false, a.now()); err != nil {
				return err
			}
			return tx.DeleteAdminToken(name)
		},
	}
}

// keepAnAdministrator refuses a change after which nobody could change anything. stays
// says whether the token itself still could.
func keepAnAdministrator(tx *store.Tx, name string, stays bool, now time.Time) error {
	if stays {
		return nil
	}
	others, err := tx.OtherAdminTokens(name, resource.RoleAdmin, now)
	if err != nil || others > 0 {
		return err
	}
	return &refusal{status: http.StatusConflict, message: "this is the last token with role admin; make another one first"}
}

func checkAdminTokenSpec(spec, old *resource.AdminTokenSpec, now time.Time) error {
	spec.Role = orDefault(spec.Role, resource.RoleViewer)
	if spec.Role != resource.RoleAdmin && spec.Role != resource.RoleViewer {
		return badRequest("role is not admin or viewer")
	}
	if err := checkDescription(spec.Description); err != nil {
		return err
	}
	return checkExpiry(&spec.ExpiresAt, old == nil, now)
}

func adminTokenOf(name string, spec resource.AdminTokenSpec, now time.Time) store.AdminToken {
	return store.AdminToken{ID: name, Description: spec.Description, Role: spec.Role, CreatedAt: now, ExpiresAt: orZero(spec.ExpiresAt)}
}

func declaredAdminToken(t store.AdminToken) declared[resource.AdminTokenSpec, resource.AdminTokenStatus] {
	return declared[resource.AdminTokenSpec, resource.AdminTokenStatus]{
		Object: resource.AdminToken{
			Kind: resource.KindAdminToken, Name: t.ID,
			Spec:   resource.AdminTokenSpec{Description: t.Description, Role: t.Role, ExpiresAt: orNil(t.ExpiresAt)},
			Status: resource.AdminTokenStatus{CreatedAt: t.CreatedAt},
		},
		version: t.Version,
	}
}
