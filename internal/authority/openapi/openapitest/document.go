package openapitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Document is an OpenAPI document. It is safe for concurrent use.
type Document struct {
	Operations []*Operation // in the order of their paths and methods

	components components
	schemas    *schemas
}

// Operation is one method of one path.
type Operation struct {
	ID       string
	Method   string
	Path     string // a template, whole: with the path of the server
	Statuses []int  // that it may answer with

	operation
}

// String is the method and the path.
func (o *Operation) String() string { return o.Method + " " + o.Path }

// The objects of OpenAPI 3.1 section 4.8, as far as our document has them.
type (
	file struct {
		OpenAPI    string              `json:"openapi"`
		Info       map[string]any      `json:"info"`
		Servers    []server            `json:"servers"`
		Tags       []tag               `json:"tags"`
		Paths      map[string]pathItem `json:"paths"`
		Components components          `json:"components"`
	}
	server struct {
		URL string `json:"url"`
	}
	tag struct {
		Name        string `json:"name"`
		Description string `json:"description"`
	}
	pathItem struct {
		Servers []server   `json:"servers"`
		Get     *operation `json:"get"`
		Put     *operation `json:"put"`
		Post    *operation `json:"post"`
		Patch   *operation `json:"patch"`
		Delete  *operation `json:"delete"`
	}
	components struct {
		Schemas         map[string]json.RawMessage `json:"schemas"`
		Parameters      map[string]parameter       `json:"parameters"`
		Headers         map[string]header          `json:"headers"`
		RequestBodies   map[string]requestBody     `json:"requestBodies"`
		Responses       map[string]response        `json:"responses"`
		SecuritySchemes map[string]any             `json:"securitySchemes"`
	}
	operation struct {
		OperationID string                `json:"operationId"`
		Tags        []string              `json:"tags"`
		Summary     string                `json:"summary"`
		Description string                `json:"description"`
		Security    []map[string][]string `json:"security"`
		Parameters  []parameter           `json:"parameters"`
		RequestBody *requestBody          `json:"requestBody"`
		Responses   map[string]response   `json:"responses"`
	}
	parameter struct {
		Ref         string          `json:"$ref"`
		Name        string          `json:"name"`
		In          string          `json:"in"`
		Description string          `json:"description"`
		Required    bool            `json:"required"`
		Schema      json.RawMessage `json:"schema"`
		Example     any             `json:"example"`
	}
	header struct {
		Ref         string          `json:"$ref"`
		Description string          `json:"description"`
		Required    bool            `json:"required"`
		Schema      json.RawMessage `json:"schema"`
		Example     any             `json:"example"`
	}
	requestBody struct {
		Ref         string           `json:"$ref"`
		Description string           `json:"description"`
		Required    bool             `json:"required"`
		Content     map[string]media `json:"content"`
	}
	response struct {
		Ref         string            `json:"$ref"`
		Description string            `json:"description"`
		Headers     map[string]header `json:"headers"`
		Content     map[string]media  `json:"content"`
	}
	media struct {
		Schema json.RawMessage `json:"schema"`
		Lines  json.RawMessage `json:"x-line-schema"` // of each line, instead
	}
)

// Parse reads a document. An error says what of it is not OpenAPI, or not as we write
// it: a misspelt word would otherwise promise nothing.
func Parse(text []byte) (*Document, error) {
	var f file
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f); err != nil {
		return nil, fmt.Errorf("parse OpenAPI document: %w", err)
	}
	if !strings.HasPrefix(f.OpenAPI, "3.1.") || len(f.Servers) != 1 {
		return nil, fmt.Errorf("parse OpenAPI document: version %q with %d servers", f.OpenAPI, len(f.Servers))
	}
	d := &Document{components: f.Components}
	var err error
	if d.schemas, err = newSchemas(text); err != nil {
		return nil, fmt.Errorf("parse OpenAPI document: %w", err)
	}
	for _, path := range slices.Sorted(maps.Keys(f.Paths)) {
		if err := d.add(path, f.Paths[path], f.Servers); err != nil {
			return nil, fmt.Errorf("parse OpenAPI document: %s: %w", path, err)
		}
	}
	slices.SortFunc(d.Operations, func(a, b *Operation) int { return strings.Compare(a.String(), b.String()) })
	return d, nil
}

func (d *Document) add(path string, item pathItem, servers []server) error {
	if len(item.Servers) > 0 {
		servers = item.Servers
	}
	base, err := url.Parse(servers[0].URL)
	if err != nil {
		return err
	}
	for method, op := range map[string]*operation{
		http.MethodDelete: item.Delete, http.MethodGet: item.Get, http.MethodPatch: item.Patch, http.MethodPost: item.Post, http.MethodPut: item.Put,
	} {
		if op == nil {
			continue
		}
		o := &Operation{ID: op.OperationID, Method: method, Path: base.Path + path, operation: *op}
		if err := d.resolve(o); err != nil {
			return fmt.Errorf("%s: %w", method, err)
		}
		d.Operations = append(d.Operations, o)
	}
	return nil
}

// CheckSchemas looks at every schema of the document, whether or not it is used: that it
// is one, and that its examples and its default fit it.
func (d *Document) CheckSchemas() error {
	all := []error{d.schemas.checkNamed(d.components.Schemas)}
	for _, o := range d.Operations {
		for _, schema := range o.inlineSchemas() {
			if _, err := d.schemas.compile(schema); err != nil {
				all = append(all, fmt.Errorf("%s: %w", o, err))
			}
		}
	}
	return errors.Join(all...)
}

func (o *Operation) inlineSchemas() []json.RawMessage {
	var all []json.RawMessage
	for _, p := range o.Parameters {
		all = append(all, p.Schema)
	}
	contents := []map[string]media{}
	if o.RequestBody != nil {
		contents = append(contents, o.RequestBody.Content)
	}
	for _, r := range o.Responses {
		contents = append(contents, r.Content)
		for _, h := range r.Headers {
			all = append(all, h.Schema)
		}
	}
	for _, content := range contents {
		for _, m := range content {
			if all = append(all, m.Schema); m.Lines != nil {
				all = append(all, m.Lines)
			}
		}
	}
	return all
}

// resolve puts the components in the place of the references to them.
func (d *Document) resolve(o *Operation) (err error) {
	o.Parameters = slices.Clone(o.Parameters)
	for i, p := range o.Parameters {
		if o.Parameters[i], err = lookUp(p, p.Ref, "parameters", d.components.Parameters); err != nil {
			return err
		}
	}
	if body := o.RequestBody; body != nil {
		found, err := lookUp(*body, body.Ref, "requestBodies", d.components.RequestBodies)
		if err != nil {
			return err
		}
		o.RequestBody = &found
	}
	o.Responses = maps.Clone(o.Responses)
	for code, r := range o.Responses {
		status, err := strconv.Atoi(code)
		if err != nil {
			return fmt.Errorf("status %q is no number", code)
		}
		o.Statuses = append(o.Statuses, status)
		if r, err = lookUp(r, r.Ref, "responses", d.components.Responses); err != nil {
			return err
		}
		r.Headers = maps.Clone(r.Headers)
		for name, h := range r.Headers {
			if r.Headers[name], err = lookUp(h, h.Ref, "headers", d.components.Headers); err != nil {
				return err
			}
		}
		o.Responses[code] = r
	}
	slices.Sort(o.Statuses)
	return nil
}

// lookUp returns the component that is referred to, or the object itself.
func lookUp[T any](object T, ref, section string, of map[string]T) (T, error) {
	if ref == "" {
		return object, nil
	}
	name, fits := strings.CutPrefix(ref, "#/components/"+section+"/")
	found, there := of[name]
	if !fits || !there {
		return found, fmt.Errorf("%s leads nowhere", ref)
	}
	return found, nil
}
