package authority

import (
	"time"

	"github.com/lanyardhq/lanyard/internal/admin/resource"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// maxSecretBytes bounds the content of a secret.
const maxSecretBytes = 32 << 10

type declaredSecret = declared[resource.SecretSpec, resource.SecretStatus]

// secrets is the kind of secrets. What is shown of one never has its content.
func (a *Authority) secrets() kind[resource.SecretSpec, resource.SecretStatus] {
	return kind[resource.SecretSpec, resource.SecretStatus]{
		name: resource.KindSecret, path: resource.SecretsPath, noun: "secret",
		newName: func() (string, error) { return randomID(a.random, prefixSecret) },
		check:   checkSecretSpec,
		mark:    func(event *store.Event, name string) { event.Resource = resource.KindSecret + "/" + name },
		show: func(q store.Queries, name string, now time.Time) (declaredSecret, error) {
			secret, err := q.Secret(name)
			return declareSecret(secret, now), err
		},
		list: func(q store.Queries, after string, limit int, now time.Time) ([]declaredSecret, error) {
			secrets, err := q.Secrets(after, limit)
			all := make([]declaredSecret, len(secrets))
			for i, secret := range secrets {
				all[i] = declareSecret(secret, now)
			}
			return all, err
		},
		insert: func(tx *store.Tx, name string, spec resource.SecretSpec, now time.Time) (minted, error) {
			return minted{}, tx.InsertSecret(a.secretOf(name, spec, now))
		},
		update: func(tx *store.Tx, name string, spec resource.SecretSpec, now time.Time) error {
			return tx.UpdateSecret(a.secretOf(name, spec, now))
		},
		remove: (*store.Tx).DeleteSecret,
	}
}

// checkSecretSpec does not compare a new content with the former one, nor does
// anything else: whether it counts as a change would tell what the former one was.
func checkSecretSpec(spec, old *resource.SecretSpec, now time.Time) error {
	spec.Tags = append([]string{}, spec.Tags...)
	if spec.Content == nil && old == nil {
		return badRequest("content is missing")
	}
	if spec.Content != nil && (*spec.Content == "" || len(*spec.Content) > maxSecretBytes) {
		return badRequest("content is not 1 to %d bytes", maxSecretBytes)
	}
	if err := checkDescription(spec.Description); err != nil {
		return err
	}
	if err := checkTags(spec.Tags); err != nil {
		return err
	}
	return checkExpiry(&spec.ExpiresAt, old == nil, now)
}

// secretOf is a checked spec as it is stored: its content sealed.
func (a *Authority) secretOf(name string, spec resource.SecretSpec, now time.Time) store.Secret {
	secret := store.Secret{
		ID: name, Description: spec.Description, Tags: spec.Tags, ExpiresAt: orZero(spec.ExpiresAt), CreatedAt: now, UpdatedAt: now,
	}
	if spec.Content != nil {
		secret.Sealed = a.box.SealSecret(name, *spec.Content)
	}
	return secret
}

func declareSecret(s store.Secret, now time.Time) declaredSecret {
	status := resource.SecretStatus{State: resource.StateActive, CreatedAt: s.CreatedAt, UpdatedAt: s.UpdatedAt}
	if hasExpired(s, now) {
		status.State = resource.StateExpired
	}
	return declaredSecret{
		Object: resource.Secret{
			Kind: resource.KindSecret, Name: s.ID,
			Spec:   resource.SecretSpec{Description: s.Description, Tags: append([]string{}, s.Tags...), ExpiresAt: orNil(s.ExpiresAt)},
			Status: status,
		},
		version: s.Version,
	}
}

func hasExpired(s store.Secret, now time.Time) bool {
	return !s.ExpiresAt.IsZero() && !now.Before(s.ExpiresAt)
}
