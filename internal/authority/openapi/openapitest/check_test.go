package openapitest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/lanyardhq/lanyard/internal/authority/openapi/openapitest"
)

const document = `{"openapi":"3.1.0","info":{},"servers":[{"url":"http://id.example/base"}],"tags":[],
"paths":{
  "/things/{name}":{
    "get":{"operationId":"get","security":[{"key":[]}],
      "parameters":[{"name":"limit","in":"query","schema":{"type":"integer","maximum":9}}],
      "responses":{
        "200":{"description":"","headers":{"ETag":{"required":true,"schema":{"type":"string","pattern":"^\".*\"$"}}},
          "content":{"application/json":{"schema":{"$ref":"#/components/schemas/Thing"}},
                     "application/x-ndjson":{"schema":{"type":"string"},"x-line-schema":{"$ref":"#/components/schemas/Thing"}}}},
        "404":{"$ref":"#/components/responses/None"}}},
    "post":{"operationId":"post",
      "requestBody":{"required":true,"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Thing"}}}},
      "responses":{"204":{"description":""},"404":{"$ref":"#/components/responses/None"}}}},
  "/things/all":{"delete":{"operationId":"all","responses":{"204":{"description":""}}}}},
"components":{
  "responses":{"None":{"description":"","content":{"application/json":{"schema":{"type":"object","required":["code"]}}}}},
  "schemas":{"Thing":{"type":"object","required":["size"],"additionalProperties":false,"properties":{"size":{"type":"integer"}}}}}}`

// said is what is on the wire of a test: a request, and its answer.
type said struct {
	request string // method, path and query
	sent    string // body
	bare    bool   // without credential and type
	status  int
	fields  []string // name and value, of the answer
	answer  string
}

// TestExchanges: what is wrong with each is said, and of what is right nothing.
func TestExchanges(t *testing.T) {
	parsed, err := openapitest.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	good := []string{"ETag", `"1"`, "Content-Type", "application/json", "Cache-Control", "no-store"}
	lines := []string{"ETag", `"1"`, "Content-Type", "application/x-ndjson"}
	for name, tt := range map[string]struct {
		said
		wrong string // "" for nothing
	}{
		"as it should be":      {said{request: "GET /base/things/a?limit=3", status: 200, fields: good, answer: `{"size":1}`}, ""},
		"the head of it":       {said{request: "HEAD /base/things/a", status: 200, fields: good}, ""},
		"lines":                {said{request: "GET /base/things/a", status: 200, fields: lines, answer: "{\"size\":1}\n{\"size\":2}\n"}, ""},
		"a wrong line":         {said{request: "GET /base/things/a", status: 200, fields: lines, answer: "{\"size\":1}\n{}\n"}, "line"},
		"a line without end":   {said{request: "GET /base/things/a", status: 200, fields: lines, answer: `{"size":1}`}, "no end"},
		"a refusal":            {said{request: "GET /base/things/a?x=1", bare: true, status: 404, fields: good[2:], answer: `{"code":404}`}, ""},
		"another status":       {said{request: "GET /base/things/a", status: 403, fields: good, answer: `{}`}, "not a status"},
		"a member more":        {said{request: "GET /base/things/a", status: 200, fields: good, answer: `{"size":1,"colour":""}`}, "colour"},
		"a member less":        {said{request: "GET /base/things/a", status: 200, fields: good, answer: `{}`}, "size"},
		"no JSON":              {said{request: "GET /base/things/a", status: 200, fields: good, answer: `{"size":`}, "not JSON"},
		"another type":         {said{request: "GET /base/things/a", status: 200, fields: append([]string{"Content-Type", "text/html"}, good[:2]...)}, "text/html"},
		"a field less":         {said{request: "GET /base/things/a", status: 200, fields: good[2:], answer: `{"size":1}`}, "ETag is missing"},
		"a field of no form":   {said{request: "GET /base/things/a", status: 200, fields: append([]string{"ETag", "1"}, good[2:]...), answer: `{"size":1}`}, "ETag"},
		"a field more":         {said{request: "GET /base/things/a", status: 404, fields: good, answer: `{"code":404}`}, "ETag is there"},
		"kept by who may":      {said{request: "GET /base/things/a", status: 200, fields: append(good[:4:4], "Cache-Control", "public"), answer: `{"size":1}`}, "Cache-Control"},
		"nobody is let in":     {said{request: "GET /base/things/a", bare: true, status: 200, fields: good, answer: `{"size":1}`}, "credential"},
		"a parameter of none":  {said{request: "GET /base/things/a?x=1", status: 200, fields: good, answer: `{"size":1}`}, "parameter x"},
		"a parameter too big":  {said{request: "GET /base/things/a?limit=10", status: 200, fields: good, answer: `{"size":1}`}, "parameter limit"},
		"a parameter twice":    {said{request: "GET /base/things/a?limit=1&limit=2", status: 200, fields: good, answer: `{"size":1}`}, "2 times"},
		"a body is sent":       {said{request: "POST /base/things/a", sent: `{"size":1}`, status: 204}, ""},
		"a body comes back":    {said{request: "POST /base/things/a", sent: `{"size":1}`, status: 404, fields: good[2:], answer: `[]`}, "body"},
		"a bad body succeeds":  {said{request: "POST /base/things/a", sent: `{"size":"1"}`, status: 204}, "does not allow"},
		"a bad body does not":  {said{request: "POST /base/things/a", sent: `{"size":"1"}`, status: 404, fields: good[2:], answer: `{"code":404}`}, ""},
		"no body succeeds":     {said{request: "POST /base/things/a", status: 204}, "without a body"},
		"no type succeeds":     {said{request: "POST /base/things/a", sent: `{"size":1}`, bare: true, status: 204}, "Content-Type"},
		"no such path":         {said{request: "GET /things/a", status: 404}, ""},
		"no such path is one":  {said{request: "GET /things/a", status: 200}, "no such path"},
		"no such method":       {said{request: "PUT /base/things/a", status: 405, fields: []string{"Allow", "GET, HEAD, POST"}}, ""},
		"a method that is one": {said{request: "PUT /base/things/a", status: 204}, "the document has GET"},
		"other methods":        {said{request: "PUT /base/things/a", status: 405, fields: []string{"Allow", "GET"}}, "the document has GET"},
		"the path written out": {said{request: "GET /base/things/all", status: 405, fields: []string{"Allow", "DELETE"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := exchange(t, parsed, tt.said)
			if (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("error %v, want one that says %q", err, tt.wrong)
			}
		})
	}
}

// exchange says it over HTTP and returns what a Transport tells of it.
func exchange(t *testing.T, document *openapitest.Document, s said) error {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header()["Content-Type"] = nil // not guessed
		for i := 0; i < len(s.fields); i += 2 {
			w.Header().Set(s.fields[i], s.fields[i+1])
		}
		w.WriteHeader(s.status)
		_, _ = io.WriteString(w, s.answer)
	}))
	defer server.Close()
	told, wrong := 0, error(nil)
	client := &http.Client{Transport: &openapitest.Transport{
		Inner:    server.Client().Transport,
		Document: func() *openapitest.Document { return document },
		Done:     func(_ *openapitest.Operation, _ int, err error) { told, wrong = told+1, err },
	}}
	method, path, _ := strings.Cut(s.request, " ")
	request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(s.sent))
	if err != nil {
		t.Fatal(err)
	}
	if !s.bare {
		request.Header.Set("Authorization", "Bearer x")
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(response.Body)
	if err != nil || method != "HEAD" && string(got) != s.answer {
		t.Errorf("read %q, %v", got, err)
	}
	if err := response.Body.Close(); err != nil || told != 1 {
		t.Error(fmt.Sprintf("told %d times", told), err)
	}
	return wrong
}
