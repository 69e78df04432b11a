package strictjson

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

type inner struct {
	Deep string `json:"deep"`
}

type sample struct {
	Name   string     `json:"name"`
	Count  int64      `json:"count,omitempty"`
	Tags   []string   `json:"tags"`
	When   *time.Time `json:"when"`
	Inner  inner      `json:"inner"`
	Maybe  *inner     `json:"maybe"`
	Hidden string     `json:"-"`

	Labels map[string]string `json:"labels"`
}

func TestUnmarshalReadsWhatItKnows(t *testing.T) {
	var got sample
	err := Unmarshal([]byte(`{"name":"n","count":3,"tags":["a"],"when":"2026-01-02T03:04:05Z","inner":{"deep":"d"},"maybe":{"deep":"e"},"labels":{"null":"null"}}`), &got)
	if err != nil {
		t.Fatal(err)
	}
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	want := sample{Name: "n", Count: 3, Tags: []string{"a"}, When: &when, Inner: inner{"d"}, Maybe: &inner{"e"}, Labels: map[string]string{"null": "null"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	tests := map[string]struct{ in, wantInError string }{
		"unknown member":        {`{"nam":"x"}`, `"nam"`},
		"other case":            {`{"Name":"x"}`, `"Name"`},
		"hidden field":          {`{"-":"x"}`, `"-"`},
		"field name":            {`{"Hidden":"x"}`, `"Hidden"`},
		"twice":                 {`{"name":"x","name":"y"}`, "twice"},
		"twice, escaped":        {`{"name":"x","n\u0061me":"y"}`, "twice"},
		"twice inside":          {`{"inner":{"deep":"a","deep":"b"}}`, "twice"},
		"unknown inside":        {`{"inner":{"deeper":"a"}}`, `"deeper"`},
		"unknown inside maybe":  {`{"maybe":{"deeper":"a"}}`, `"deeper"`},
		"wrong type":            {`{"name":7}`, "not a string"},
		"number too large":      {`{"count":9223372036854775808}`, "whole number"},
		"number of no size":     {`{"count":1e400}`, "too large"},
		"such a number inside":  {`{"inner":{"deep":"\"1","x":[-1E+400]}}`, "too large"},
		"digits without end":    {`{"count":` + strings.Repeat("9", 400) + `}`, "too large"},
		"fraction":              {`{"count":1.5}`, "whole number"},
		"list of numbers":       {`{"tags":[1]}`, "list of strings"},
		"time":                  {`{"when":"yesterday"}`, "RFC 3339"},
		"array":                 {`[]`, "object"},
		"string":                {`"x"`, "object"},
		"null":                  {`null`, "object"},
		"empty":                 {``, "object"},
		"cut off":               {`{"name":"x"`, "object"},
		"cut off in value":      {`{"name":"x`, "not valid"},
		"trailing object":       {`{}{}`, "follows"},
		"trailing bracket":      {`{}]`, "follows"},
		"null in a list":        {`{"tags":["a",null]}`, "null is among them"},
		"null in an object":     {`{"labels":{"a":"1","b":null}}`, "null is among them"},
		"no colon":              {`{"name" "x"}`, "name"},
		"invalid UTF-8":         {"{\"name\":\"\xff\"}", "UTF-8"},
		"half of a surrogate":   {`{"name":"\ud800"}`, "not valid"},
		"name is a number":      {`{1:2}`, "not a string"},
		"too many members":      {manyMembers(MaxMembers + 1), "more than"},
		"lists too deep":        {nested("[", "]", MaxDepth), "deeper"},
		"objects too deep":      {nested(`{"a":`, "}", MaxDepth), "deeper"},
		"open without an end":   {`{"name":` + strings.Repeat("[", 1<<20), "deeper"},
		"long name is not kept": {`{"` + strings.Repeat("n", 500) + `":1}`, "…"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got sample
			err := Unmarshal([]byte(tt.in), &got)
			if err == nil {
				t.Fatalf("accepted, got %+v", got)
			}
			if !strings.Contains(err.Error(), tt.wantInError) {
				t.Errorf("error %q does not say %q", err, tt.wantInError)
			}
			if len(err.Error()) > 200 {
				t.Errorf("error is %d bytes long", len(err.Error()))
			}
		})
	}
}

// nested is an object with a member of that many brackets in each other.
func nested(begin, end string, depth int) string {
	return `{"name":` + strings.Repeat(begin, depth) + "1" + strings.Repeat(end, depth) + "}"
}

func TestDepth(t *testing.T) {
	for _, in := range []string{
		nested("[", "]", MaxDepth-1), nested(`{"a":`, "}", MaxDepth-1),
		`{"a":"` + strings.Repeat(`[`, 2*MaxDepth) + `"}`, `{"a":"` + strings.Repeat(`\"[`, 2*MaxDepth) + `"}`,
		`{"a":[` + strings.Repeat(`[],{},`, 2*MaxDepth) + `1]}`,
	} {
		if _, err := Object([]byte(in)); err != nil {
			t.Errorf("%.60s…: %v", in, err)
		}
	}
}

func TestNumbersThatAnyReaderHas(t *testing.T) {
	for _, in := range []string{`{"a":1e308}`, `{"a":-1.7E+308}`, `{"a":1e-400}`, `{"a":"1e400"}`, `{"1e400":"\"1e400"}`, `{"a":[0,-0,12345678901234567890]}`} {
		if _, err := Object([]byte(in)); err != nil {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestNullIsLeftToTheCaller(t *testing.T) {
	got := struct {
		Plain string          `json:"plain"`
		Raw   json.RawMessage `json:"raw"`
		Other json.RawMessage `json:"other"`
	}{Plain: "before"}
	if err := Unmarshal([]byte(`{"plain":null,"raw":null}`), &got); err != nil {
		t.Fatal(err)
	}
	if got.Plain != "before" || string(got.Raw) != "null" || got.Other != nil {
		t.Errorf("got %+v", got)
	}
}

func TestNoValueInErrors(t *testing.T) {
	const secret = "hunter2hunter2"
	for _, in := range []string{`{"count":"` + secret + `"}`, `{"inner":"` + secret + `"}`, `{"name":["` + secret + `"]}`, `"` + secret + `"`} {
		err := Unmarshal([]byte(in), &sample{})
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: error %v", in, err)
		}
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`,"` + strings.Repeat("a", i+1) + `":0`)
	}
	return "{" + b.String()[1:] + "}"
}

func FuzzObject(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1,"b":{"c":[]}}`, `{"a":1,"a":2}`, `{"a":1}x`, `[`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		members, err := Object(data)
		if err != nil {
			return
		}
		var loose map[string]any
		if err := json.Unmarshal(data, &loose); err != nil {
			t.Fatalf("accepted what encoding/json refuses: %v", err)
		}
		if len(loose) != len(members) {
			t.Fatalf("%d members, encoding/json sees %d", len(members), len(loose))
		}
	})
}
