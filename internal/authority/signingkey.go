package authority

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/keyring"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

func (a *Authority) openKeys(ctx context.Context, box *keyring.Box) (*keyring.Keyring, error) {
	config := keyring.Config{
		Store: a.store, Box: box,
		Algorithm: a.config.SigningAlgorithm, Period: a.config.KeyRotation, MaxTokenLife: maxIDTokenTTL,
	}
	if !a.wall.believed() {
		keys, found, err := keyring.OpenUnchanged(ctx, config)
		if err != nil || found {
			return keys, err
		}
	}
	now := a.now()
	return keyring.Open(ctx, config, now, recordKeyChange(store.Event{At: now}))
}

// recordKeyChange makes an event of each change, about the request or the upkeep
// that event begins to tell of.
func recordKeyChange(event store.Event) keyring.Recorder {
	return func(tx *store.Tx, c keyring.Change) error {
		event.Kind, event.Allowed, event.Reason = "signing_key."+c.Action, true, c.Why
		event.Resource = resource.KindSigningKey + "/" + c.KeyID
		return tx.AppendEvent(event)
	}
}

// signingKeys is the kind of signing keys: they change by two verbs of their own.
func (a *Authority) signingKeys() kind[resource.SigningKeySpec, resource.SigningKeyStatus] {
	return kind[resource.SigningKeySpec, resource.SigningKeyStatus]{
		name: resource.KindSigningKey, path: resource.SigningKeysPath, noun: "signing_key",
		show: func(q store.Queries, name string, _ time.Time) (declared[resource.SigningKeySpec, resource.SigningKeyStatus], error) {
			key, err := q.SigningKey(name)
			return a.declaredSigningKey(key), err
		},
		list: func(q store.Queries, after string, limit int, _ time.Time) ([]declared[resource.SigningKeySpec, resource.SigningKeyStatus], error) {
			keys, err := q.SigningKeyPage(after, limit)
			all := make([]declared[resource.SigningKeySpec, resource.SigningKeyStatus], len(keys))
			for i, key := range keys {
				all[i] = a.declaredSigningKey(key)
			}
			return all, err
		},
	}
}

func (a *Authority) declaredSigningKey(k store.SigningKey) declared[resource.SigningKeySpec, resource.SigningKeyStatus] {
	status := resource.SigningKeyStatus{
		State: k.State, Algorithm: k.Algorithm, Purpose: k.Purpose, CreatedAt: k.CreatedAt,
		ActivatedAt: orNil(k.ActivatedAt), RetiredAt: orNil(k.RetiredAt), RevokedAt: orNil(k.RevokedAt),
	}
	if k.State == store.KeyActive {
		status.RotatesAt = orNil(k.ActivatedAt.Add(a.config.KeyRotation))
	}
	return declared[resource.SigningKeySpec, resource.SigningKeyStatus]{
		Object: resource.SigningKey{Kind: resource.KindSigningKey, Name: k.ID, Status: status}, version: k.Version,
	}
}

// mountKeyVerbs adds what can be done to signing keys.
func (a *Authority) mountKeyVerbs(routes map[string]methods) {
	routes[resource.SigningKeysPath+"/rotate"] = methods{http.MethodPost: a.admin(a.rotateKeys)}
	routes[resource.SigningKeysPath+"/{name}/revoke"] = methods{http.MethodPost: a.admin(a.revokeKey)}
}

// rotateKeys answers with the key that signs from now on.
func (a *Authority) rotateKeys(r *http.Request, by store.AdminToken) (reply, error) {
	if err := readNothing(r); err != nil {
		return reply{}, err
	}
	now := a.now()
	var tooEarly *keyring.TooEarlyError
	err := a.keys.Rotate(r.Context(), now, a.keyChangeBy(r, by))
	if errors.As(err, &tooEarly) {
		wait := int(tooEarly.From.Sub(now)/time.Second) + 1
		return reply{}, &refusal{status: http.StatusConflict, message: err.Error(), header: map[string]string{"Retry-After": strconv.Itoa(wait)}}
	}
	if err != nil {
		return reply{}, err
	}
	keys, err := a.store.Read(r.Context()).SigningKeys(store.PurposeIDToken)
	for _, key := range keys {
		if key.State == store.KeyActive {
			return a.declaredSigningKey(key).reply(http.StatusOK), nil
		}
	}
	return reply{}, errors.Join(errors.New("no signing key is active"), err)
}

// revokeKey answers with the key that is revoked.
func (a *Authority) revokeKey(r *http.Request, by store.AdminToken) (reply, error) {
	if err := readNothing(r); err != nil {
		return reply{}, err
	}
	name := r.PathValue("name")
	keys := kindAPI[resource.SigningKeySpec, resource.SigningKeyStatus]{a.signingKeys(), a}
	if err := a.keys.Revoke(r.Context(), name, a.now(), a.keyChangeBy(r, by)); err != nil {
		return reply{}, keys.explain(err)
	}
	return keys.serveOne(r, by)
}

// keyChangeBy records changes as an administrator's.
func (a *Authority) keyChangeBy(r *http.Request, by store.AdminToken) keyring.Recorder {
	event := a.event(r, "")
	event.AdminID = by.ID
	return recordKeyChange(event)
}

// readNothing refuses a body with anything in it.
func readNothing(r *http.Request) error {
	return readJSON(r, &struct{}{}, maxAdminBytes, true)
}
