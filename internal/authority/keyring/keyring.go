package keyring

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lanyardhq/lanyard/internal/authority/jose"
	"github.com/lanyardhq/lanyard/internal/authority/store"
)

// Keyring signs with the active key and publishes all that are not revoked. It
// is immutable, and safe for concurrent use.
type Keyring struct {
	signer *ecdsa.PrivateKey
	keyID  string
	jwks   []byte
}

// Load opens the ID-token keys in the store, and makes the first one where there
// is none.
func Load(ctx context.Context, s *store.Store, box *Box, now time.Time) (*Keyring, error) {
	keys, err := s.Read(ctx).SigningKeys(store.PurposeIDToken)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		first, err := newKey(box, now)
		if err != nil {
			return nil, err
		}
		if err := s.Write(ctx, func(tx *store.Tx) error { return tx.InsertSigningKey(first) }); err != nil {
			return nil, fmt.Errorf("store signing key: %w", err)
		}
		keys = []store.SigningKey{first}
	}
	return assemble(keys, box)
}

func newKey(box *Box, now time.Time) (store.SigningKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return store.SigningKey{}, fmt.Errorf("make signing key: %w", err)
	}
	public, err := jose.NewPublicKey(&private.PublicKey)
	if err != nil {
		return store.SigningKey{}, fmt.Errorf("make signing key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return store.SigningKey{}, fmt.Errorf("make signing key: %w", err)
	}
	key := store.SigningKey{
		ID:        public.Thumbprint(),
		Purpose:   store.PurposeIDToken,
		Algorithm: public.Algorithm(),
		State:     store.KeyActive,
		PublicJWK: public.JWK(),
		CreatedAt: now,
	}
	key.Sealed = box.seal(der, sealPurpose(key))
	return key, nil
}

// sealPurpose binds a sealed key to its row: moved to another one it does not open.
func sealPurpose(k store.SigningKey) string {
	return "lanyard signing key " + k.Purpose + " " + k.Algorithm + " " + k.ID
}

func assemble(keys []store.SigningKey, box *Box) (*Keyring, error) {
	ring := &Keyring{}
	published := []json.RawMessage{}
	for _, key := range keys {
		if key.State == store.KeyRevoked {
			continue
		}
		public, err := jose.ParsePublicKey([]byte(key.PublicJWK))
		if err != nil {
			return nil, fmt.Errorf("load signing key %s: %w", key.ID, err)
		}
		jwk, err := public.Published()
		if err != nil {
			return nil, fmt.Errorf("load signing key %s: %w", key.ID, err)
		}
		published = append(published, jwk)
		if key.State == store.KeyActive {
			if ring.signer, err = unseal(key, public, box); err != nil {
				return nil, fmt.Errorf("load signing key %s: %w", key.ID, err)
			}
			ring.keyID = key.ID
		}
	}
	if ring.signer == nil {
		return nil, errors.New("load signing keys: none is active")
	}
	var err error
	ring.jwks, err = json.Marshal(map[string][]json.RawMessage{"keys": published})
	return ring, err
}

func unseal(key store.SigningKey, public jose.PublicKey, box *Box) (*ecdsa.PrivateKey, error) {
	der, err := box.open(key.Sealed, sealPurpose(key))
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("parse private key: not PKCS #8")
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("parse private key: it is a %T, not an EC key", parsed)
	}
	if own, err := jose.NewPublicKey(&private.PublicKey); err != nil || own.Thumbprint() != public.Thumbprint() {
		return nil, errors.New("parse private key: it does not belong to the public key beside it")
	}
	return private, nil
}

// Sign returns the claims as a compact JWS by the active key.
func (k *Keyring) Sign(typ string, claims any) (string, error) {
	return jose.Sign(k.signer, k.keyID, typ, claims)
}

// JWKS returns the public keys as a JWK set (RFC 7517). Do not change it.
func (k *Keyring) JWKS() []byte { return k.jwks }
