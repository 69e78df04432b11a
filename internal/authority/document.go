package authority

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/lanyardhq/lanyard/internal/authority/openapi"
	"github.com/lanyardhq/lanyard/internal/jose"
)

// documentPath is where the OpenAPI document is, below the authority's base.
const documentPath = "/openapi.json"

// document describes what the authority serves.
type document struct {
	text json.RawMessage
	tag  string // its entity tag
}

func (a *Authority) describe(kinds []openapi.Kind) (document, error) {
	text, err := openapi.Build(openapi.Config{URL: a.config.URL, Issuer: a.config.Issuer, Version: a.config.Version, Kinds: kinds})
	return document{text, `"` + jose.Digest(text) + `"`}, err
}

// serveDocument answers 304 to who has the document already.
func (a *Authority) serveDocument(r *http.Request) (reply, error) {
	described, err := a.document()
	if err != nil {
		return reply{}, err
	}
	header := map[string]string{"ETag": described.tag, "Cache-Control": "no-cache"}
	// A proxy that compresses makes a tag weak, which is as good here (RFC 9110 §13.1.2).
	if matches(strings.ReplaceAll(r.Header.Get("If-None-Match"), "W/", ""), described.tag) {
		return reply{status: http.StatusNotModified, header: header}, nil
	}
	return reply{status: http.StatusOK, body: described.text, header: header}, nil
}
