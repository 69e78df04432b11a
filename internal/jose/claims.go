package jose

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/lanyardhq/lanyard/internal/strictjson"
)

// latestDate bounds a NumericDate: the year 9999.
const latestDate = 253402300799

// Claims are the claims of a verified message, or of an object among them. Names
// are compared exactly.
type Claims struct {
	members map[string]json.RawMessage
	text    []byte
}

// JSON returns the object as it was signed. The caller does not change it.
func (c Claims) JSON() []byte { return c.text }

// String returns the string claim name; absent, another type and "" are errors.
func (c Claims) String(name string) (string, error) {
	value, present := c.members[name]
	if !present {
		return "", fmt.Errorf("claim %q is missing", name)
	}
	var s string
	if err := parseString(value, &s); err != nil || s == "" {
		return "", fmt.Errorf("claim %q is not a string with content", name)
	}
	return s, nil
}

// Time returns the NumericDate (RFC 7519 section 2) name.
func (c Claims) Time(name string) (time.Time, error) {
	value, present := c.members[name]
	if !present {
		return time.Time{}, fmt.Errorf("claim %q is missing", name)
	}
	var seconds float64
	if err := json.Unmarshal(value, &seconds); err != nil || string(value) == "null" || seconds < 0 || seconds > latestDate {
		return time.Time{}, fmt.Errorf("claim %q is not a date", name)
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*float64(time.Second))), nil
}

// List returns the claim name as a list of strings with content, which may be empty;
// absent, another type and a null in it are errors.
func (c Claims) List(name string) ([]string, error) {
	value, present := c.members[name]
	if !present {
		return nil, fmt.Errorf("claim %q is missing", name)
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(value, &raw); err != nil || raw == nil {
		return nil, fmt.Errorf("claim %q is not a list of strings", name)
	}
	list := make([]string, len(raw))
	for i, value := range raw {
		if err := parseString(value, &list[i]); err != nil || list[i] == "" {
			return nil, fmt.Errorf("claim %q is not a list of strings with content", name)
		}
	}
	return list, nil
}

// Audience returns the claim aud, which is one string or a list of them (RFC 7519
// section 4.1.3).
func (c Claims) Audience() ([]string, error) {
	if value := c.members["aud"]; len(value) > 0 && value[0] == '"' {
		one, err := c.String("aud")
		return []string{one}, err
	}
	return c.List("aud")
}

// Object returns the claim name, an object, as strictly read as the claims themselves.
func (c Claims) Object(name string) (Claims, error) {
	value, present := c.members[name]
	if !present {
		return Claims{}, fmt.Errorf("claim %q is missing", name)
	}
	members, err := strictjson.Object(value)
	if err != nil {
		return Claims{}, fmt.Errorf("claim %q: %w", name, err)
	}
	return Claims{members: members, text: value}, nil
}

// Has reports whether the claim is there at all.
func (c Claims) Has(name string) bool {
	_, present := c.members[name]
	return present
}

// parseString accepts a JSON string only; encoding/json alone takes null too.
func parseString(value json.RawMessage, target *string) error {
	if len(value) == 0 || value[0] != '"' {
		return errors.New("not a string")
	}
	return json.Unmarshal(value, target)
}
