package jose

import (
	"slices"
	"testing"
)

func claimsOf(t *testing.T, payload string) Claims {
	t.Helper()
	private, public := newKey(t)
	message, err := Parse(craft(t, private, `{"alg":"ES256"}`, payload))
	if err != nil {
		t.Fatal(err)
	}
	claims, err := message.Verify(public)
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestListsAndObjects(t *testing.T) {
	claims := claimsOf(t, `{"list":["a","b"],"none":[],"text":"a","null":null,"empty":[""],"hole":["a",null],"mixed":["a",1],
		"deep":[["a"]],"number":1,"object":{"tags":["x"]},"cased":{"Tags":["x"]}}`)
	for name, want := range map[string][]string{"list": {"a", "b"}, "none": {}} {
		if got, err := claims.List(name); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"absent", "text", "null", "empty", "hole", "mixed", "deep", "number", "object"} {
		if got, err := claims.List(name); err == nil {
			t.Errorf("List(%s) = %q", name, got)
		}
	}
	object, err := claims.Object("object")
	if tags, _ := object.List("tags"); err != nil || !slices.Equal(tags, []string{"x"}) {
		t.Errorf("object: %q, %v", tags, err)
	}
	for _, name := range []string{"absent", "text", "null", "list"} {
		if _, err := claims.Object(name); err == nil {
			t.Errorf("Object(%s)", name)
		}
	}
	if cased, err := claims.Object("cased"); err != nil || cased.Has("tags") {
		t.Errorf("names are compared by more than their bytes: %v", err)
	}
}

func TestAudience(t *testing.T) {
	for payload, want := range map[string][]string{
		`{"aud":"a"}`: {"a"}, `{"aud":["a","b"]}`: {"a", "b"}, `{"aud":[]}`: {},
	} {
		if got, err := claimsOf(t, payload).Audience(); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", payload, got, err)
		}
	}
	for _, payload := range []string{`{}`, `{"aud":null}`, `{"aud":""}`, `{"aud":[""]}`, `{"aud":1}`, `{"aud":{"a":1}}`, `{"aud":["a",null]}`} {
		if got, err := claimsOf(t, payload).Audience(); err == nil {
			t.Errorf("%s: %q", payload, got)
		}
	}
}

// A typ is a media type: in any case, and application/ may be left out.
func TestTypesOfAJWT(t *testing.T) {
	key, _ := newKey(t)
	for typ, is := range map[string]bool{
		"": true, "JWT": true, "jwt": true, "application/jwt": true, "Application/JWT": true,
		"at+jwt": false, "text/jwt": false, "application/at+jwt": false, " JWT": false, "JWT;a=b": false, "JOSE": false,
	} {
		message, err := Parse(craft(t, key, `{"alg":"ES256","typ":"`+typ+`"}`, `{}`))
		if err != nil {
			t.Fatal(err)
		}
		if message.IsJWT() != is {
			t.Errorf("%q: %v", typ, message.IsJWT())
		}
	}
}
