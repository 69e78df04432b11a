package keyring

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/store"
	"github.com/lanyardhq/lanyard/internal/jose"
)

// Config says how keys are kept and replaced. All of it is required.
type Config struct {
	Store *store.Store
	Box   *Box
	// Algorithm is that of new keys, one of jose.Algorithms.
	Algorithm string
	// Period is how long a key signs.
	Period time.Duration
	// MaxTokenLife is how long after its signing a token can be valid.
	MaxTokenLife time.Duration
}

// Keyring signs with the active key and publishes all that are not revoked. It is
// safe for concurrent use; signing waits for nothing.
type Keyring struct {
	config  Config
	current atomic.Pointer[ring]

	mu     sync.Mutex         // held from a change's beginning until it is in force
	spares []store.SigningKey // made ahead, outside the store's writer; guarded by mu
}

// ring is what one state of the keys comes to. It is immutable.
type ring struct {
	signer     jose.Signer
	jwks       []byte
	algorithms []string
}

// Open loads the ID-token keys from the store, makes those that are missing, and
// does what has become due meanwhile.
func Open(ctx context.Context, config Config, now time.Time, record Recorder) (*Keyring, error) {
	k := &Keyring{config: config}
	err := k.change(ctx, now, record, (*change).settle)
	return k, err
}

// OpenUnchanged is Open where the date is not to be believed: nothing is rotated or
// removed. Where there is no active key to go on with, it finds none.
func OpenUnchanged(ctx context.Context, config Config) (k *Keyring, found bool, err error) {
	k = &Keyring{config: config}
	keys, err := config.Store.Read(ctx).SigningKeys(store.PurposeIDToken)
	if err != nil || !slices.ContainsFunc(keys, func(key store.SigningKey) bool { return key.State == store.KeyActive }) {
		return nil, false, err
	}
	_, err = k.reload(ctx)
	return k, err == nil, err
}

// Sign returns the claims as a compact JWS by the active key.
func (k *Keyring) Sign(typ string, claims any) (string, error) {
	return k.current.Load().signer.Sign(typ, claims)
}

// JWKS returns the public keys as a JWK set (RFC 7517). Do not change it.
func (k *Keyring) JWKS() []byte { return k.current.Load().jwks }

// Algorithms returns the algorithms of the published keys, each once, sorted. Do
// not change them.
func (k *Keyring) Algorithms() []string { return k.current.Load().algorithms }

func newKey(algorithm string, box *Box) (store.SigningKey, error) {
	signer, err := jose.GenerateSigner(algorithm)
	if err != nil {
		return store.SigningKey{}, err
	}
	der, err := signer.PKCS8()
	if err != nil {
		return store.SigningKey{}, fmt.Errorf("make signing key: %w", err)
	}
	public := signer.Public()
	key := store.SigningKey{
		ID:        public.Thumbprint(),
		Purpose:   store.PurposeIDToken,
		Algorithm: public.Algorithm(),
		State:     store.KeyNext,
		PublicJWK: public.JWK(),
	}
	key.Sealed = box.seal(der, sealPurpose(key))
	return key, nil
}

// sealPurpose binds a sealed key to its row: moved to another one it does not open.
func sealPurpose(k store.SigningKey) string {
	return "lanyard signing key " + k.Purpose + " " + k.Algorithm + " " + k.ID
}

func assemble(keys []store.SigningKey, box *Box) (*ring, error) {
	made := &ring{}
	keys = slices.SortedFunc(slices.Values(keys), func(a, b store.SigningKey) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID)) // as a restart reads them
	})
	published := []json.RawMessage{}
	active := false
	known := map[string]bool{}
	for _, key := range keys {
		if key.State == store.KeyRevoked {
			continue
		}
		public, err := publicHalf(key)
		if err != nil {
			return nil, fmt.Errorf("load signing key %s: %w", key.ID, err)
		}
		jwk, err := public.Published()
		if err != nil {
			return nil, fmt.Errorf("load signing key %s: %w", key.ID, err)
		}
		published = append(published, jwk)
		if !known[key.Algorithm] {
			known[key.Algorithm] = true
			made.algorithms = append(made.algorithms, key.Algorithm)
		}
		if key.State == store.KeyActive {
			if made.signer, err = unseal(key, box); err != nil {
				return nil, fmt.Errorf("load signing key %s: %w", key.ID, err)
			}
			active = true
		}
	}
	slices.Sort(made.algorithms)
	if !active {
		return nil, errors.New("load signing keys: none is active")
	}
	var err error
	made.jwks, err = json.Marshal(map[string][]json.RawMessage{"keys": published})
	return made, err
}

// publicHalf returns a key's public half, if that is what its row says it is.
func publicHalf(key store.SigningKey) (jose.PublicKey, error) {
	public, err := jose.ParseSigningKey([]byte(key.PublicJWK))
	if err != nil {
		return jose.PublicKey{}, err
	}
	if public.Thumbprint() != key.ID || public.Algorithm() != key.Algorithm {
		return jose.PublicKey{}, errors.New("its id or algorithm is that of another key; the database was changed")
	}
	return public, nil
}

func unseal(key store.SigningKey, box *Box) (jose.Signer, error) {
	der, err := box.open(key.Sealed, sealPurpose(key))
	if err != nil {
		return jose.Signer{}, err
	}
	signer, err := jose.ParseSigner(der)
	if err != nil {
		return jose.Signer{}, err
	}
	if signer.Public().Thumbprint() != key.ID {
		return jose.Signer{}, errors.New("parse private key: it does not belong to the public key beside it")
	}
	return signer, nil
}
