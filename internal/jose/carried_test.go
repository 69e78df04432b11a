package jose

import (
	"slices"
	"testing"
)

func TestStated(t *testing.T) {
	encode := func(s string) string { return base64url.EncodeToString([]byte(s)) }
	m, err := Parse(encode(`{"alg":"none"}`) + "." + encode(`{"sub":"pr1:x"}`) + ".")
	if err != nil {
		t.Fatal(err)
	}
	if sub, err := m.Stated().String("sub"); err != nil || sub != "pr1:x" || m.Algorithm() != "none" {
		t.Errorf("sub %q, %v, alg %q", sub, err, m.Algorithm())
	}
}

func TestAudiences(t *testing.T) {
	for claims, want := range map[string][]string{
		`{}`:                {},
		`{"aud":[]}`:        {},
		`{"aud":"a"}`:       {"a"},
		`{"aud":""}`:        {""},
		`{"aud":["a"]}`:     {"a"},
		`{"aud":["a","a"]}`: {"a", "a"},
		`{"aud":null}`:      nil,
		`{"aud":[null]}`:    nil,
		`{"aud":["a",1]}`:   nil,
		`{"aud":{"a":"b"}}`: nil,
		`{"aud":7}`:         nil,
	} {
		m, err := Parse("e30." + base64url.EncodeToString([]byte(claims)) + ".")
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.Stated().Audiences()
		if (err != nil) != (want == nil) || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", claims, got, err, want)
		}
	}
}
