// Package openapi makes the OpenAPI 3.1 document of the authority's HTTP API.
//
// It is written by hand in the YAML files beside this one. What all kinds of resource
// have alike stands once, in kind.yaml; the words and schemas of a kind are in a file
// of its own in kinds/. Build joins them for the kinds that the authority serves.
//
// It must not know how a request is answered, or anything else of the authority: it is
// told what is served, and where.
package openapi
