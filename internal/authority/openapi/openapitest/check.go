package openapitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Exchange is a request and its answer.
type Exchange struct {
	Method string
	URL    *url.URL
	Sent   http.Header
	Asked  []byte // body of the request

	Status int
	Got    http.Header
	Answer []byte // body of the answer, as far as it was read
	Whole  bool   // it was read to its end
}

// Check holds an exchange against the document, and returns its operation, nil if it
// is none of the document's. A request that succeeded must be one that the document
// allows; of others nothing is asked.
func (d *Document) Check(e Exchange) (*Operation, error) {
	if e.Status == http.StatusRequestHeaderFieldsTooLarge {
		return nil, nil // by the HTTP server, whatever the path
	}
	candidates := d.at(e.URL.EscapedPath())
	if len(candidates) == 0 {
		return nil, checkNoPath(e)
	}
	method := e.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	i := slices.IndexFunc(candidates, func(o *Operation) bool { return o.Method == method })
	if i < 0 {
		return nil, checkNoMethod(e, candidates)
	}
	o := candidates[i]
	err := d.checkAnswer(o, e)
	if e.Status/100 == 2 {
		err = errors.Join(err, d.checkRequest(o, e))
	}
	if err != nil {
		return o, fmt.Errorf("%s %s: %d: %w", e.Method, e.URL.Path, e.Status, err)
	}
	return o, nil
}

// at returns the operations of a path. One that is written out goes before a template.
func (d *Document) at(path string) []*Operation {
	best, found := -1, []*Operation(nil)
	for _, o := range d.Operations {
		if fixed, fits := match(o.Path, path); fits && fixed >= best {
			if fixed > best {
				best, found = fixed, nil
			}
			found = append(found, o)
		}
	}
	return found
}

// match reports whether a path fits a template, and how many segments are the same.
func match(template, path string) (fixed int, fits bool) {
	want, got := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return 0, false
	}
	for i, segment := range want {
		switch {
		case segment == got[i]:
			fixed++
		case !strings.HasPrefix(segment, "{") || got[i] == "":
			return 0, false
		}
	}
	return fixed, true
}

func checkNoPath(e Exchange) error {
	if e.Status == http.StatusNotFound || e.Status == http.StatusTooManyRequests || e.Status/100 == 3 && e.Got.Get("Location") != "" {
		return nil
	}
	return fmt.Errorf("%s %s: %d, and the document has no such path", e.Method, e.URL.Path, e.Status)
}

func checkNoMethod(e Exchange, others []*Operation) error {
	if e.Status == http.StatusTooManyRequests {
		return nil
	}
	var has []string
	for _, o := range others {
		has = append(has, o.Method)
		if o.Method == http.MethodGet {
			has = append(has, http.MethodHead)
		}
	}
	slices.Sort(has)
	if want := strings.Join(has, ", "); e.Status != http.StatusMethodNotAllowed || e.Got.Get("Allow") != want {
		return fmt.Errorf("%s %s: %d, allowed are %q, and the document has %s only", e.Method, e.URL.Path, e.Status, e.Got.Get("Allow"), want)
	}
	return nil
}

// promised are the header fields that an answer has only where the document says so.
var promised = []string{"Allow", "ETag", "Location", "Retry-After", "WWW-Authenticate"}

func (d *Document) checkAnswer(o *Operation, e Exchange) error {
	r, documented := o.Responses[strconv.Itoa(e.Status)]
	if !documented {
		return fmt.Errorf("not a status that %s has in the document", o)
	}
	var all []error
	for name, h := range r.Headers {
		value := e.Got.Get(name)
		switch {
		case value != "":
			if err := d.checkText(h.Schema, value); err != nil {
				all = append(all, fmt.Errorf("field %s: %w", name, err))
			}
		case h.Required:
			all = append(all, fmt.Errorf("field %s is missing", name))
		}
	}
	for _, name := range promised {
		if _, says := r.Headers[name]; !says && e.Got.Get(name) != "" {
			all = append(all, fmt.Errorf("field %s is there, and the document does not say so", name))
		}
	}
	return errors.Join(append(all, d.checkAnswerBody(r, e))...)
}

func (d *Document) checkAnswerBody(r response, e Exchange) error {
	if len(r.Content) == 0 {
		if len(e.Answer) > 0 {
			return errors.New("there is a body, and the document has none")
		}
		return nil
	}
	media, says, err := content(r.Content, e.Got)
	if err != nil {
		return err
	}
	if _, cached := r.Headers["Cache-Control"]; says == "application/json" && !cached && e.Got.Get("Cache-Control") != "no-store" {
		return fmt.Errorf("Cache-Control is %q, and the document does not say so", e.Got.Get("Cache-Control"))
	}
	switch {
	case e.Method == http.MethodHead:
		return nil
	case media.Lines != nil:
		return d.checkLines(media.Lines, e.Answer, e.Whole)
	case !e.Whole:
		return nil
	case says == "text/plain":
		return d.schemas.checkValue(media.Schema, string(e.Answer))
	}
	if err := d.schemas.check(media.Schema, e.Answer); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	return nil
}

func (d *Document) checkLines(schema json.RawMessage, body []byte, whole bool) error {
	for line := range bytes.Lines(body) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			if whole {
				return errors.New("the last line has no end")
			}
			return nil
		}
		if err := d.schemas.check(schema, line); err != nil {
			return fmt.Errorf("line: %w", err)
		}
	}
	return nil
}

func (d *Document) checkRequest(o *Operation, e Exchange) error {
	var all []error
	if len(o.Security) > 0 && e.Sent.Get("Authorization") == "" {
		all = append(all, errors.New("nobody is named, and the document wants a credential"))
	}
	query, err := url.ParseQuery(e.URL.RawQuery)
	if err != nil {
		all = append(all, err)
	}
	for _, p := range o.Parameters {
		if p.In != "query" {
			continue
		}
		if values, given := query[p.Name]; given {
			if err := d.checkText(p.Schema, values[0]); err != nil || len(values) > 1 {
				all = append(all, fmt.Errorf("parameter %s (%d times): %w", p.Name, len(values), err))
			}
		}
		delete(query, p.Name)
	}
	for name := range query {
		all = append(all, fmt.Errorf("parameter %s is accepted, and not in the document", name))
	}
	return errors.Join(append(all, d.checkRequestBody(o, e))...)
}

func (d *Document) checkRequestBody(o *Operation, e Exchange) error {
	switch {
	case o.RequestBody == nil:
		return nil // what is sent with it is not looked at
	case len(e.Asked) == 0 && o.RequestBody.Required:
		return errors.New("a request without a body is accepted")
	case len(e.Asked) == 0:
		return nil
	}
	media, _, err := content(o.RequestBody.Content, e.Sent)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	if err := d.schemas.check(media.Schema, e.Asked); err != nil {
		return fmt.Errorf("a body is accepted that the document does not allow: %w", err)
	}
	return nil
}

// content finds the type of a body.
func content(of map[string]media, header http.Header) (media, string, error) {
	says, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	found, there := of[says]
	if err != nil || !there {
		return media{}, "", fmt.Errorf("Content-Type is %q, and the document has %v", header.Get("Content-Type"), slices.Sorted(maps.Keys(of)))
	}
	return found, says, nil
}

// checkText checks a value that is written as text: as a number, if it is one and the
// schema wants one, or else as it stands.
func (d *Document) checkText(schema json.RawMessage, text string) error {
	if number := json.Number(text); bytes.Contains(schema, []byte(`"integer"`)) {
		if _, err := number.Int64(); err == nil {
			return d.schemas.checkValue(schema, number)
		}
	}
	return d.schemas.checkValue(schema, text)
}
