package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
)

// Of docs/verifying.md's table.
const (
	maxKeys    = 100
	minRSABits = 2048
	maxRSABits = 8192
)

// keysToUse takes those keys out of a published set that tokens are verified with. jwx
// would use each of them: a symmetric one, which whoever reads the set can sign with, one
// that is too short, a private one, one of another algorithm or use; and Go panics where
// an Ed25519 key has not its length.
func keysToUse(published []byte) (jwk.Set, error) {
	var entries struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(published, &entries); err != nil {
		return nil, err
	}
	if entries.Keys == nil { // an error of somebody else's, say, with status 200
		return nil, errors.New(`it has no list "keys"`)
	}
	if len(entries.Keys) > maxKeys {
		return nil, fmt.Errorf("the set has more than %d keys", maxKeys)
	}
	set := jwk.NewSet()
	for _, entry := range entries.Keys {
		key, err := jwk.ParseKey(entry)
		if err != nil || !usable(key) {
			continue // RFC 7517 section 5
		}
		if _, twice := set.LookupKeyID(key.KeyID()); twice {
			return nil, fmt.Errorf("two keys have the id %.64q", key.KeyID())
		}
		if err := set.AddKey(key); err != nil {
			return nil, err
		}
	}
	return set, nil
}

func usable(key jwk.Key) bool {
	forSignatures := key.KeyUsage() == "" || key.KeyUsage() == string(jwk.ForSignature)
	toVerify := len(key.KeyOps()) == 0 || slices.Contains(key.KeyOps(), jwk.KeyOpVerify)
	return key.KeyID() != "" && forSignatures && toVerify && hasItsAlgorithm(key)
}

// hasItsAlgorithm reports whether a key is a public one of a kind that we use, and alg
// names the algorithm of that kind.
func hasItsAlgorithm(key jwk.Key) bool {
	var raw any
	if key.Raw(&raw) != nil {
		return false
	}
	switch raw := raw.(type) {
	case *ecdsa.PublicKey:
		return key.Algorithm() == jwa.ES256 && raw.Curve == elliptic.P256()
	case *rsa.PublicKey:
		return key.Algorithm() == jwa.RS256 && raw.N.BitLen() >= minRSABits && raw.N.BitLen() <= maxRSABits
	case ed25519.PublicKey:
		return key.Algorithm() == jwa.EdDSA && len(raw) == ed25519.PublicKeySize
	}
	return false
}
