package jose

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// latestDate bounds a NumericDate: the year 9999.
const latestDate = 253402300799

// Claims are the claims of a verified message.
type Claims struct {
	members map[string]json.RawMessage
}

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
