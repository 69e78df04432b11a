package jose

import (
	"encoding/json"
	"errors"
)

// Algorithm returns the header's alg, or "". It is signed, but not verified yet.
func (m *Message) Algorithm() string { return m.header.Algorithm }

// Stated returns the claims before the signature was checked: for who passes a
// token on and compares it with what was asked for. Whoever believes a claim
// verifies the signature.
func (m *Message) Stated() Claims { return m.claims }

// Audiences returns the values of aud, which is a string or a list of strings
// (RFC 7519 section 4.1.3); absent and an empty list are none.
func (c Claims) Audiences() ([]string, error) {
	value, present := c.members["aud"]
	if !present {
		return nil, nil
	}
	var one string
	if parseString(value, &one) == nil {
		return []string{one}, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(value, &list); err != nil || list == nil {
		return nil, errors.New(`claim "aud" is neither a string nor a list of strings`)
	}
	all := make([]string, len(list))
	for i, entry := range list {
		if parseString(entry, &all[i]) != nil {
			return nil, errors.New(`claim "aud" is neither a string nor a list of strings`)
		}
	}
	return all, nil
}
