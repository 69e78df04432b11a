package jose

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/lanyardhq/lanyard/internal/strictjson"
)

const (
	// maxSetKeys bounds the entries of a set, used or not. Issuers publish a few.
	maxSetKeys = 100
	// maxKeyIDShown bounds how much of an issuer's key id a text repeats.
	maxKeyIDShown = 64
	// maxLeftOutShown bounds of how many keys that are left out the reasons are kept.
	maxLeftOutShown = 8
)

// KeySet is an issuer's public keys by their ids. It is immutable; the zero KeySet
// has none.
type KeySet struct {
	keys    map[string]PublicKey
	leftOut int
	reasons []string // for the first of them
}

// ParseKeySet takes those keys out of a published set (RFC 7517 section 5) that a
// token can be verified with: public ones with an id, for one of our algorithms,
// which alg names, and, where use says what for, for signatures. Others are left
// out, as section 5 has it; LeftOut tells of them. Two keys with one id are an error:
// which of them a token means would be for the token to say. So are more than a hundred
// entries, whatever they are.
func ParseKeySet(published []byte) (KeySet, error) {
	members, err := strictjson.Object(published)
	if err != nil {
		return KeySet{}, fmt.Errorf("parse key set: %w", err)
	}
	described, err := listOfKeys(members["keys"])
	if err != nil {
		return KeySet{}, fmt.Errorf("parse key set: %w", err)
	}
	set := KeySet{keys: make(map[string]PublicKey, len(described))}
	for i, text := range described {
		id, key, err := verificationKey(text)
		if err != nil {
			set.leaveOut(fmt.Sprintf("key %d (kid %.*q): %v", i+1, maxKeyIDShown, id, err))
			continue
		}
		if _, twice := set.keys[id]; twice {
			return KeySet{}, fmt.Errorf("parse key set: two keys have the id %.*q", maxKeyIDShown, id)
		}
		set.keys[id] = key
	}
	return set, nil
}

// listOfKeys splits the list of a set, and reads no further than it may be long.
func listOfKeys(list json.RawMessage) (described []json.RawMessage, err error) {
	decoder := json.NewDecoder(bytes.NewReader(list))
	if begin, err := decoder.Token(); err != nil || begin != json.Delim('[') {
		return nil, errors.New(`it has no list "keys"`)
	}
	for decoder.More() {
		if len(described) == maxSetKeys {
			return nil, fmt.Errorf("it has more than %d keys", maxSetKeys)
		}
		var text json.RawMessage
		if err := decoder.Decode(&text); err != nil {
			return nil, errors.New("a key is no JSON")
		}
		described = append(described, text)
	}
	return described, nil
}

func (s *KeySet) leaveOut(reason string) {
	if s.leftOut++; len(s.reasons) < maxLeftOutShown {
		s.reasons = append(s.reasons, reason)
	}
}

// verificationKey reads a key of a set, or says why it verifies nothing.
func verificationKey(text []byte) (id string, key PublicKey, err error) {
	described, err := jwk.ParseKey(text)
	if err != nil {
		return "", PublicKey{}, errors.New("it cannot be read, or is of an unknown type")
	}
	id = described.KeyID()
	var raw any
	if err := described.Raw(&raw); err != nil {
		return id, PublicKey{}, errors.New("its key cannot be read")
	}
	if key, err = NewPublicKey(raw); err != nil {
		return id, PublicKey{}, err
	}
	switch use, operations, algorithm := described.KeyUsage(), described.KeyOps(), described.Algorithm().String(); {
	case id == "":
		return id, PublicKey{}, errors.New("it has no kid")
	case use != "" && use != string(jwk.ForSignature):
		return id, PublicKey{}, errors.New("its use is not sig")
	case len(operations) > 0 && !slices.Contains(operations, jwk.KeyOpVerify):
		return id, PublicKey{}, errors.New("its key_ops lack verify")
	case algorithm == "":
		return id, PublicKey{}, fmt.Errorf("it has no alg; the issuer must publish one, here %s", key.Algorithm())
	case algorithm != key.Algorithm():
		return id, PublicKey{}, fmt.Errorf("its alg is not %s, the only one that is accepted for its type", key.Algorithm())
	}
	return id, key, nil
}

// Key returns the key with that id.
func (s KeySet) Key(id string) (PublicKey, bool) {
	key, found := s.keys[id]
	return key, found
}

// Len returns how many keys the set has.
func (s KeySet) Len() int { return len(s.keys) }

// LeftOut returns how many published keys verify nothing, and of the first eight of
// them which they are, and why.
func (s KeySet) LeftOut() (count int, reasons []string) { return s.leftOut, slices.Clone(s.reasons) }
