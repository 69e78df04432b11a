package authority

import (
	"encoding/json"
	"net/http/httptest"
	"slices"
	"testing"
)

// The examples of RFC 7396, appendix A, whose patch is an object.
func TestMerge(t *testing.T) {
	for _, c := range []struct{ target, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		got, err := merge(json.RawMessage(c.target), json.RawMessage(c.patch))
		if err != nil || string(got) != c.want {
			t.Errorf("%s with %s: %s, %v; want %s", c.target, c.patch, got, err, c.want)
		}
	}
	for _, patch := range []string{`["a"]`, `null`, `"a"`, `{"a":{"b":1,"b":2}}`, ``} {
		if got, err := merge(json.RawMessage(`{}`), json.RawMessage(patch)); err == nil {
			t.Errorf("patch %s is taken as %s", patch, got)
		}
	}
}

func TestChangedMembers(t *testing.T) {
	type spec struct {
		A int      `json:"a"`
		B []string `json:"b,omitempty"`
		C string   `json:"c,omitempty"`
	}
	got, err := changedMembers(spec{A: 1, B: []string{"x"}}, spec{A: 1, C: "new"})
	if err != nil || !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("changed %v, %v", got, err)
	}
}

// RFC 9110 §13.1.
func TestConditions(t *testing.T) {
	for _, c := range []struct {
		field, value, tag string
		holds             bool
	}{
		{"If-Match", `"1"`, `"1"`, true},
		{"If-Match", `"0", "1"`, `"1"`, true},
		{"If-Match", `"2"`, `"1"`, false},
		{"If-Match", `W/"1"`, `"1"`, false}, // strong comparison
		{"If-Match", `*`, `"1"`, true},
		{"If-Match", `*`, ``, false},
		{"If-Match", `"1"`, ``, false},
		{"If-None-Match", `*`, ``, true},
		{"If-None-Match", `*`, `"1"`, false},
		{"If-None-Match", `"1"`, `"1"`, false},
		{"If-None-Match", `"2"`, `"1"`, true},
	} {
		r := httptest.NewRequest("PUT", "/", nil)
		r.Header.Set(c.field, c.value)
		if err := checkConditions(r, c.tag); (err == nil) != c.holds {
			t.Errorf("%s: %s where the tag is %s: %v", c.field, c.value, c.tag, err)
		}
	}
}
